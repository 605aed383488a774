import { fstatSync, statSync } from 'node:fs';
import { NETLINK_NETFILTER, NETLINK_ROUTE, O_CLOEXEC, O_RDONLY, inNamespaces, openFile, openInRoot } from '../../base/kernel/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import type { ResourceKernel } from '../plugins/contract.ts';
import { netnsFailure, ownNamespace, withPodNamespace } from './netns.ts';
import type { NamespaceId, PodNamespace } from './netns.ts';
import type { Caller } from './plugin-call.ts';
import { realmOf } from './realm.ts';

/** The host that a caller lives in: where its links, rules and paths are. */
export interface Host {
  readonly realm: string;
  readonly route: NetlinkSocket;
  readonly filter: NetlinkSocket;
  /** Runs synchronous calls in the caller's network namespace. */
  inside<T>(body: () => T): T;
  /** A path of the caller as one of ours. */
  path(path: string): string;
  /** The caller's mount namespace differs from ours: programs are started in it. */
  readonly pid?: number;
  /**
   * Opens the pod's namespace for `body`; without a pod when it is gone and `lenient`.
   * @throws NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID
   */
  withPod<T>(netns: string, options: PodOptions, body: (kernel: ResourceKernel) => T): T;
}

export interface PodOptions {
  /** Goes on without a pod when its namespace is gone. */
  readonly lenient?: boolean;
  /** The pod's namespace may be the host's own (CNI_NETNS_OVERRIDE). */
  readonly ownAllowed?: boolean;
  /** Nothing is changed in the pod's namespace. */
  readonly onlyRead?: boolean;
  /** See {@link ResourceKernel}. */
  readonly foundGone?: () => void;
}

export interface Hosts {
  /** Runs `body` with the caller's host, a promise of it to its end. Sockets in a namespace that is not ours live as long as the call: they would keep it alive. */
  with<T>(caller: Caller, body: (host: Host) => T): T;
  readonly own: Host;
  close(): void;
}

export function openHosts(): Hosts {
  const ownSockets = openSockets((body) => body());
  const own = hostOf({}, ownSockets, (body) => body());
  return {
    own,
    with(caller, body) {
      const { netnsFd } = caller;
      if (netnsFd === undefined || sameNamespace(netnsFd)) {
        const { netnsFd: _own, ...rest } = caller;
        return body(caller.rootFd === undefined ? own : hostOf(rest, ownSockets, (inner) => inner()));
      }
      const inside = <R>(inner: () => R): R => inNamespaces({ net: netnsFd }, inner);
      const sockets = openSockets(inside);
      let lasting = false;
      try {
        const result = body(hostOf(caller, sockets, inside));
        if (!(result instanceof Promise)) return result;
        lasting = true;
        return result.finally(() => closeSockets(sockets)) as typeof result;
      } finally {
        if (!lasting) closeSockets(sockets);
      }
    },
    close: () => closeSockets(ownSockets),
  };
}

interface Sockets {
  readonly route: NetlinkSocket;
  readonly filter: NetlinkSocket;
}

type Inside = <T>(body: () => T) => T;

function openSockets(inside: Inside): Sockets {
  return inside(() => {
    const route = openNetlink(NETLINK_ROUTE);
    try {
      return { route, filter: openNetlink(NETLINK_NETFILTER) };
    } catch (thrown) {
      route.close();
      throw thrown;
    }
  });
}

function closeSockets({ route, filter }: Sockets): void {
  route.close();
  filter.close();
}

const sameNamespace = (fd: number): boolean => {
  const [own, given] = [ownNamespace(), fstatSync(fd)];
  return own.dev === given.dev && own.ino === given.ino;
};

function hostOf(caller: Caller, { route, filter }: Sockets, inside: Inside): Host {
  const { netnsFd } = caller;
  const hostNamespace = (): NamespaceId => (netnsFd === undefined ? ownNamespace() : fstatSync(netnsFd));
  const path = (given: string): string => (caller.rootFd === undefined ? given : `/proc/self/fd/${caller.rootFd}/${given}`);
  const kernelOf = (pod: PodNamespace | undefined, foundGone: (() => void) | undefined): ResourceKernel => ({
    host: { route, filter },
    ...(foundGone === undefined ? {} : { foundGone }),
    ...(pod === undefined ? {} : { pod }),
    inHost: inside,
    hostPath: path,
    inPod(body) {
      if (pod === undefined) throw netnsFailure('NETWORK_NETNS_MISSING', 'not-found', '', "the pod's namespace is gone");
      return inNamespaces({ net: pod.netnsFd }, body);
    },
  });
  return {
    realm: realmOf(route.fd, netnsFd === undefined ? '/proc/thread-self/ns/net' : `/proc/self/fd/${netnsFd}`),
    route,
    filter,
    inside,
    path,
    ...(caller.pid === undefined || caller.rootFd === undefined || sameRoot(caller.rootFd) ? {} : { pid: caller.pid }),
    withPod(netns, { lenient = false, ownAllowed = false, onlyRead = false, foundGone }, body) {
      const entrance = { onlyRead, open: () => openNamespace(netns, caller), forbidden: ownAllowed ? ('any' as const) : hostNamespace() };
      const state = { entered: false };
      try {
        return withPodNamespace(netns, entrance, (pod) => {
          state.entered = true;
          return body(kernelOf(pod, foundGone));
        });
      } catch (thrown) {
        // What the body throws is not for us to take for a namespace that is gone.
        if (state.entered || !lenient || !isPortcullisError(thrown) || !/^NETWORK_NETNS_/u.test(thrown.code)) throw thrown;
        return body(kernelOf(undefined, foundGone));
      }
    },
  };
}

const sameRoot = (fd: number): boolean => {
  const [own, given] = [statSync('/'), fstatSync(fd)];
  return own.dev === given.dev && own.ino === given.ino;
};

/** Links of the kernel's own making, which no path that stays inside a root may follow: /proc/PID/ns/net. */
const procNamespace = /^\/proc\/(?:\d+|self|thread-self)(?:\/task\/\d+)?\/ns\/net$/u;

/** What the caller means by itself is not what this process would find there. */
const ownProcNamespace = /^\/proc\/(?:self|thread-self)(?:\/task\/\d+)?\/ns\/net$/u;

function openNamespace(netns: string, { netnsFd, rootFd }: Caller): number {
  if (netnsFd !== undefined && ownProcNamespace.test(netns)) return openFile(`/proc/self/fd/${netnsFd}`, O_RDONLY);
  if (rootFd === undefined) return openFile(netns, O_RDONLY);
  if (procNamespace.test(netns)) return openFile(`/proc/self/fd/${rootFd}${netns}`, O_RDONLY);
  return openInRoot(rootFd, netns, { flags: O_RDONLY | O_CLOEXEC });
}

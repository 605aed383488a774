import { fstatSync, statSync } from 'node:fs';
import {
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  O_CLOEXEC,
  O_RDONLY,
  closeFd,
  inNamespaces,
  isErrno,
  openFile,
  openInRoot,
} from '../../base/kernel/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import type { ResourceKernel } from '../plugins/contract.ts';
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
  /** See {@link ResourceKernel}. */
  readonly foundGone?: () => void;
}

export interface Hosts {
  /** Runs `body` with the caller's host. Sockets in a namespace that is not ours live as long as the call: they would keep it alive. */
  with<T>(caller: Caller, body: (host: Host) => T): T;
  readonly own: Host;
  close(): void;
}

const ownPath = '/proc/thread-self/ns/net';

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
      try {
        return body(hostOf(caller, sockets, inside));
      } finally {
        closeSockets(sockets);
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
  const [own, given] = [statSync(ownPath), fstatSync(fd)];
  return own.dev === given.dev && own.ino === given.ino;
};

function hostOf(caller: Caller, { route, filter }: Sockets, inside: Inside): Host {
  const hostNs = caller.netnsFd === undefined ? ownPath : `/proc/self/fd/${caller.netnsFd}`;
  const path = (given: string): string => (caller.rootFd === undefined ? given : `/proc/self/fd/${caller.rootFd}/${given}`);
  const kernelOf = (pod: { route: NetlinkSocket; netnsFd: number } | undefined, foundGone: (() => void) | undefined): ResourceKernel => ({
    host: { route, filter },
    ...(foundGone === undefined ? {} : { foundGone }),
    ...(pod === undefined ? {} : { pod }),
    inHost: inside,
    inPod(body) {
      if (pod === undefined) throw podGone();
      return inNamespaces({ net: pod.netnsFd }, body);
    },
  });
  return {
    realm: realmOf(route.fd, hostNs),
    route,
    filter,
    inside,
    path,
    ...(caller.pid === undefined || caller.rootFd === undefined || sameRoot(caller.rootFd) ? {} : { pid: caller.pid }),
    withPod(netns, { lenient = false, ownAllowed = false, foundGone }, body) {
      const open = (): number => openNamespace(netns, caller, ownAllowed ? undefined : hostNs);
      const fd = lenient ? tried(open) : open();
      if (fd === undefined) return body(kernelOf(undefined, foundGone));
      try {
        const podRoute = lenient ? tried(() => enter(netns, fd)) : enter(netns, fd);
        if (podRoute === undefined) return body(kernelOf(undefined, foundGone));
        try {
          return body(kernelOf({ route: podRoute, netnsFd: fd }, foundGone));
        } finally {
          podRoute.close();
        }
      } finally {
        closeFd(fd);
      }
    },
  };
}

const sameRoot = (fd: number): boolean => {
  const [own, given] = [statSync('/'), fstatSync(fd)];
  return own.dev === given.dev && own.ino === given.ino;
};

function tried<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch (thrown) {
    if (isPortcullisError(thrown) && /^NETWORK_NETNS_/u.test(thrown.code)) return undefined;
    throw thrown;
  }
}

/** Links of the kernel's own making, which no path that stays inside a root may follow: /proc/PID/ns/net. */
const procNamespace = /^\/proc\/(?:\d+|self|thread-self)(?:\/task\/\d+)?\/ns\/net$/u;

/** What the caller means by itself is not what this process would find there. */
const ownProcNamespace = /^\/proc\/(?:self|thread-self)(?:\/task\/\d+)?\/ns\/net$/u;

function openNamespace(netns: string, caller: Caller, forbidden: string | undefined): number {
  let fd: number;
  try {
    fd =
      caller.netnsFd !== undefined && ownProcNamespace.test(netns)
        ? openFile(`/proc/self/fd/${caller.netnsFd}`, O_RDONLY)
        : caller.rootFd === undefined || procNamespace.test(netns)
          ? openFile(caller.rootFd === undefined ? netns : `/proc/self/fd/${caller.rootFd}${netns}`, O_RDONLY)
          : openInRoot(caller.rootFd, netns, { flags: O_RDONLY | O_CLOEXEC });
  } catch (thrown) {
    throw failure('NETWORK_NETNS_MISSING', 'not-found', netns, reasonOf(thrown));
  }
  try {
    const given = fstatSync(fd);
    if (given.dev !== statSync(ownPath).dev)
      throw failure('NETWORK_NETNS_INVALID', 'invalid', netns, 'it is no namespace: nothing is pinned there');
    if (forbidden !== undefined && given.ino === statSync(forbidden).ino)
      throw failure('NETWORK_NETNS_INVALID', 'invalid', netns, "it is the caller's own namespace");
    return fd;
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
}

/** Only a network namespace can be entered as one; nsfs holds the other kinds as well. */
function enter(netns: string, fd: number): NetlinkSocket {
  try {
    return inNamespaces({ net: fd }, () => openNetlink(NETLINK_ROUTE));
  } catch (thrown) {
    if (!isErrno(thrown, 'EINVAL')) throw thrown;
    throw failure('NETWORK_NETNS_INVALID', 'invalid', netns, `it cannot be entered: ${reasonOf(thrown)}`);
  }
}

function failure(code: string, kind: 'not-found' | 'invalid', path: string, why: string): PortcullisError {
  return new PortcullisError({
    code,
    kind,
    attempted: 'open the network namespace',
    on: path,
    why,
    fix: 'give the path of a pinned network namespace that still stands',
  });
}

function podGone(): PortcullisError {
  return failure('NETWORK_NETNS_MISSING', 'not-found', '', "the pod's namespace is gone");
}

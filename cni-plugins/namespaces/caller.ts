import { constants, fstatSync, statSync } from 'node:fs';
import {
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  O_CLOEXEC,
  O_RDONLY,
  inNamespaces,
  openFile,
  openInRoot,
} from '../../base/kernel/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { openNetlink } from '../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../base/netlink/index.ts';
import type { ResourceKernel } from '../plugins/contract/contract.ts';
import { netnsFailure, ownNamespace, withPodNamespace } from './netns.ts';
import type { NamespaceId, PodNamespace } from './netns.ts';
import type { Caller } from '../calls/plugin-call.ts';
import { namespaceIdOf } from './namespace-id.ts';
import { createAnsweringPaths } from './answering-paths.ts';
import type { AnsweringPaths, Root } from './answering-paths.ts';

/** The host on which a caller runs: the place of its links, rules and paths. */
export interface Host {
  readonly namespaceId: string;
  readonly route: NetlinkSocket;
  readonly filter: NetlinkSocket;
  /** Runs a synchronous call in the caller's network namespace. */
  inside<T>(body: () => T): T;
  /**
   * Converts a path of the caller to a path of this process, which does not wait when it is opened.
   * @throws NETWORK_PATH_NO_ANSWER
   */
  path(path: string): string;
  /** Set if the caller's mount namespace differs from ours: programs are started in it. */
  readonly pid?: number;
  /**
   * Opens the pod's namespace for `body`. If the namespace is gone and `lenient` is set, `body` runs without
   * a pod.
   * @throws NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID · NETWORK_PATH_NO_ANSWER
   */
  withPod<T>(netns: string, options: PodOptions, body: (kernel: ResourceKernel) => T): T;
}

export interface PodOptions {
  /** Continue without a pod if its namespace is gone. */
  readonly lenient?: boolean;
  /** The pod's namespace may be the host's own (CNI_NETNS_OVERRIDE). */
  readonly ownAllowed?: boolean;
  /** The pod's namespace is not changed. */
  readonly onlyRead?: boolean;
  /** Id of the namespace. Another one at the path is refused, and with `lenient` it counts as gone. */
  readonly expected?: string;
  /** See {@link ResourceKernel}. */
  readonly foundGone?: () => void;
}

export interface Hosts {
  /**
   * Runs `body` with the caller's host, until the promise that it returns settles. Sockets in a foreign
   * namespace live only as long as the call, because they would keep the namespace alive.
   */
  with<T>(caller: Caller, body: (host: Host) => T): T;
  /**
   * Asks the file systems of a caller's paths that may not answer, in processes of their own, so that a call
   * can open those that answered. Returns undefined if no path needs a question. The promise never rejects.
   */
  ask(caller: Caller, paths: readonly string[]): Promise<void> | undefined;
  readonly own: Host;
  close(): void;
}

const rootOf = ({ rootFd, pid }: Caller): Root =>
  rootFd === undefined ? {} : { fd: rootFd, ...(pid !== undefined && { pid }) };

export function openHosts(): Hosts {
  const paths = createAnsweringPaths();
  const ownSockets = openSockets((body) => body());
  const own = hostOf({}, ownSockets, (body) => body(), paths);
  return {
    own,
    ask: (caller, asked) => paths.ask(asked, rootOf(caller)),
    with(caller, body) {
      const { netnsFd } = caller;
      if (netnsFd === undefined || sameNamespace(netnsFd)) {
        const { netnsFd: _own, ...rest } = caller;
        return body(caller.rootFd === undefined ? own : hostOf(rest, ownSockets, (inner) => inner(), paths));
      }
      const inside = <R>(inner: () => R): R => inNamespaces({ net: netnsFd }, inner);
      const sockets = openSockets(inside);
      let lasting = false;
      try {
        const result = body(hostOf(caller, sockets, inside, paths));
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

function hostOf(caller: Caller, { route, filter }: Sockets, inside: Inside, paths: AnsweringPaths): Host {
  const { netnsFd } = caller;
  const hostNamespace = (): NamespaceId => (netnsFd === undefined ? ownNamespace() : fstatSync(netnsFd));
  const path = (given: string): string => {
    paths.check(given, rootOf(caller));
    return caller.rootFd === undefined ? given : `/proc/self/fd/${caller.rootFd}/${given}`;
  };
  const kernelOf = (pod: PodNamespace | undefined, foundGone: (() => void) | undefined): ResourceKernel => ({
    host: { route, filter },
    ...(foundGone === undefined ? {} : { foundGone }),
    ...(pod === undefined ? {} : { pod }),
    inHost: inside,
    hostPath: path,
    inPod(body) {
      if (pod === undefined)
        throw netnsFailure('NETWORK_NETNS_MISSING', 'not-found', '', "the pod's namespace is gone");
      return inNamespaces({ net: pod.netnsFd }, body);
    },
  });
  return {
    namespaceId: namespaceIdOf(
      route.fd,
      netnsFd === undefined ? '/proc/thread-self/ns/net' : `/proc/self/fd/${netnsFd}`,
    ),
    route,
    filter,
    inside,
    path,
    ...(caller.pid === undefined || caller.rootFd === undefined || sameRoot(caller.rootFd)
      ? {}
      : { pid: caller.pid }),
    withPod(netns, options, body) {
      const { lenient = false, ownAllowed = false, onlyRead = false, expected, foundGone } = options;
      const entrance = {
        onlyRead,
        open() {
          if (!isOfKernel(netns, caller)) paths.check(netns, rootOf(caller));
          return openNamespace(netns, caller);
        },
        forbidden: ownAllowed ? ('any' as const) : hostNamespace(),
      };
      const state = { entered: false };
      try {
        return withPodNamespace(netns, entrance, (pod) => {
          if (expected !== undefined && idOfPod(pod) !== expected) throw replaced(netns);
          state.entered = true;
          return body(kernelOf(pod, foundGone));
        });
      } catch (thrown) {
        // An error that `body` throws must not be mistaken for a missing namespace.
        if (state.entered || !lenient || !isPortcullisError(thrown) || !/^NETWORK_NETNS_/u.test(thrown.code))
          throw thrown;
        return body(kernelOf(undefined, foundGone));
      }
    },
  };
}

/** Returns the id of a pod's network namespace, which no other one ever gets on kernels from 5.14. */
export const idOfPod = ({ route, netnsFd }: PodNamespace): string =>
  namespaceIdOf(route.fd, `/proc/self/fd/${netnsFd}`);

const replaced = (netns: string): PortcullisError =>
  netnsFailure(
    'NETWORK_NETNS_INVALID',
    'invalid',
    netns,
    'another namespace has the path since the attachment was made',
  );

const sameRoot = (fd: number): boolean => {
  const [own, given] = [statSync('/'), fstatSync(fd)];
  return own.dev === given.dev && own.ino === given.ino;
};

/**
 * The kernel's magic links, such as /proc/PID/ns/net. A path lookup that must stay inside a root may not
 * follow them.
 */
const procNamespace = /^\/proc\/(?:\d+|self|thread-self)(?:\/task\/\d+)?\/ns\/net$/u;

/** Paths that refer to the caller itself; this process would find its own namespace there. */
const ownProcNamespace = /^\/proc\/(?:self|thread-self)(?:\/task\/\d+)?\/ns\/net$/u;

/** Whether the kernel opens the namespace without a file system that may not answer. */
const isOfKernel = (netns: string, { netnsFd }: Caller): boolean =>
  procNamespace.test(netns) || (netnsFd !== undefined && ownProcNamespace.test(netns));

function openNamespace(netns: string, { netnsFd, rootFd }: Caller): number {
  if (netnsFd !== undefined && ownProcNamespace.test(netns))
    return openFile(`/proc/self/fd/${netnsFd}`, O_RDONLY);
  // Opening a FIFO would wait for its writer.
  if (rootFd === undefined) return openFile(netns, O_RDONLY | constants.O_NONBLOCK);
  if (procNamespace.test(netns)) return openFile(`/proc/self/fd/${rootFd}${netns}`, O_RDONLY);
  return openInRoot(rootFd, netns, { flags: O_RDONLY | O_CLOEXEC | constants.O_NONBLOCK });
}

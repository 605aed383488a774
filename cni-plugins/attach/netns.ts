import { fstatSync, statSync } from 'node:fs';
import { NETLINK_ROUTE, O_RDONLY, closeFd, inNamespaces, isErrno, openFile } from '../../base/kernel/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';

/** Pinned network namespaces, told apart by the inode that nsfs gives each. */

export interface NamespaceId {
  readonly dev: number;
  readonly ino: number;
}

let own: NamespaceId | undefined;

/** Of the namespace in which this thread was started, and to which it comes back from every window. */
export function ownNamespace(): NamespaceId {
  own ??= statSync('/proc/thread-self/ns/net');
  return own;
}

/** Whether a namespace is pinned at the path: a plain file left by an unpin is not one. */
export function namespaceStands(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.dev === ownNamespace().dev;
}

/** A pod's namespace, held open, and a socket made in it. */
export interface PodNamespace {
  readonly netnsFd: number;
  readonly route: NetlinkSocket;
}

export interface Entrance {
  /** How the namespace is opened, where the path is not one of this process. */
  readonly open?: () => number;
  /** The one that it must not be; absent: this thread's own. `any`: it may be every one. */
  readonly forbidden?: NamespaceId | 'any';
}

/**
 * Opens the pod's namespace for `body`.
 * @throws NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID (no network namespace, or the forbidden one)
 */
export function withPodNamespace<T>(path: string, { open, forbidden }: Entrance, body: (pod: PodNamespace) => T): T {
  const netnsFd = opened(path, open);
  try {
    refuseOthers(path, netnsFd, forbidden ?? ownNamespace());
    const route = enter(path, netnsFd);
    try {
      return body({ netnsFd, route });
    } finally {
      route.close();
    }
  } finally {
    closeFd(netnsFd);
  }
}

function opened(path: string, open: (() => number) | undefined): number {
  try {
    return open === undefined ? openFile(path, O_RDONLY) : open();
  } catch (thrown) {
    throw netnsFailure('NETWORK_NETNS_MISSING', 'not-found', path, reasonOf(thrown));
  }
}

function refuseOthers(path: string, fd: number, forbidden: NamespaceId | 'any'): void {
  const given = fstatSync(fd);
  if (given.dev !== ownNamespace().dev)
    throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, 'it is no namespace: nothing is pinned there');
  if (forbidden !== 'any' && given.ino === forbidden.ino)
    throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, "it is the caller's own namespace");
}

/** Only a network namespace can be entered as one; nsfs holds the other kinds as well. */
function enter(path: string, netnsFd: number): NetlinkSocket {
  try {
    return inNamespaces({ net: netnsFd }, () => openNetlink(NETLINK_ROUTE));
  } catch (thrown) {
    if (!isErrno(thrown, 'EINVAL')) throw thrown;
    throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, `it cannot be entered: ${reasonOf(thrown)}`);
  }
}

export function netnsFailure(code: string, kind: 'not-found' | 'invalid', path: string, why: string): PortcullisError {
  return new PortcullisError({
    code,
    kind,
    attempted: 'open the network namespace',
    on: path,
    why,
    fix: 'give the path of a pinned network namespace that still stands',
  });
}

import { constants, fstatSync, statSync } from 'node:fs';
import {
  NETLINK_ROUTE,
  O_RDONLY,
  closeFd,
  enter,
  inNamespaces,
  isNamespaceOf,
  openFile,
} from '../../base/kernel/index.ts';
import { PortcullisError, isPortcullisError, leavesUnknown, reasonOf } from '../../base/errors/index.ts';
import { openNetlink } from '../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../base/netlink/index.ts';

/** Pinned network namespaces, identified by the inode that nsfs assigns. */

export interface NamespaceId {
  readonly dev: number;
  readonly ino: number;
}

let own: NamespaceId | undefined;

/**
 * Returns the id of the namespace in which this thread was started, and to which it returns after every visit
 * to another one.
 */
export function ownNamespace(): NamespaceId {
  own ??= statSync('/proc/thread-self/ns/net');
  return own;
}

/** Returns whether a namespace is pinned at the path. A plain file that an unpin left does not count. */
export function namespaceStands(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.dev === ownNamespace().dev;
}

/** A pod's namespace, held open. */
export interface PodNamespace {
  readonly netnsFd: number;
  /** A socket in the namespace, opened on first use, because entering takes longer than most queries. */
  readonly route: NetlinkSocket;
}

export interface Entrance {
  /** Opens the namespace if the path is not a path of this process. */
  readonly open?: () => number;
  /** The namespace that is forbidden. Absent: this thread's own. `any`: no namespace is forbidden. */
  readonly forbidden?: NamespaceId | 'any';
  /** The namespace is not changed, so its socket sends the same query only once. */
  readonly onlyRead?: boolean;
}

/**
 * Opens the pod's namespace for `body`.
 * @throws NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID (no network namespace, or the forbidden one) ·
 * KERNEL_EMFILE, and other errors that say nothing about the namespace
 */
export function withPodNamespace<T>(path: string, entrance: Entrance, body: (pod: PodNamespace) => T): T {
  const { open, forbidden, onlyRead: asksOnce = false } = entrance;
  const netnsFd = opened(path, open);
  let made: NetlinkSocket | undefined;
  try {
    refuseOthers(path, netnsFd, forbidden ?? ownNamespace());
    return body({
      netnsFd,
      get route() {
        return (made ??= inNamespaces({ net: netnsFd }, () => openNetlink(NETLINK_ROUTE, { asksOnce })));
      },
    });
  } finally {
    made?.close();
    closeFd(netnsFd);
  }
}

function opened(path: string, open: (() => number) | undefined): number {
  try {
    return enter(open === undefined ? openFile(path, O_RDONLY | constants.O_NONBLOCK) : open());
  } catch (thrown) {
    // Without a descriptor nothing is known about the namespace: a caller that continues when the namespace
    // is gone must not continue here.
    if (leavesUnknown(thrown)) throw thrown;
    if (isPathWithoutAnswer(thrown)) throw thrown;
    throw netnsFailure('NETWORK_NETNS_MISSING', 'not-found', path, reasonOf(thrown));
  }
}

const isPathWithoutAnswer = (thrown: unknown): boolean =>
  isPortcullisError(thrown) && thrown.code === 'NETWORK_PATH_NO_ANSWER';

function refuseOthers(path: string, fd: number, forbidden: NamespaceId | 'any'): void {
  const given = fstatSync(fd);
  if (given.dev !== ownNamespace().dev)
    throw netnsFailure(
      'NETWORK_NETNS_INVALID',
      'invalid',
      path,
      'it is not a namespace: nothing is pinned there',
    );
  // nsfs contains namespaces of other types as well.
  if (!isNamespaceOf(fd, 'net'))
    throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, 'it is a namespace of another kind');
  if (forbidden !== 'any' && given.ino === forbidden.ino)
    throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, "it is the caller's own namespace");
}

export function netnsFailure(
  code: string,
  kind: 'not-found' | 'invalid',
  path: string,
  why: string,
): PortcullisError {
  return new PortcullisError({
    code,
    kind,
    attempted: 'open the network namespace',
    on: path,
    why,
    fix: 'give the path of a pinned network namespace that still exists',
  });
}

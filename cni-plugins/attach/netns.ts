import { fstatSync, statSync } from 'node:fs';
import { NETLINK_ROUTE, O_RDONLY, closeFd, enter, inNamespaces, isNamespaceOf, leavesUnknown, openFile } from '../../base/kernel/index.ts';
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

/** A pod's namespace, held open. */
export interface PodNamespace {
  readonly netnsFd: number;
  /** A socket in it, made when it is asked for: entering takes longer than most questions. */
  readonly route: NetlinkSocket;
}

export interface Entrance {
  /** How the namespace is opened, where the path is not one of this process. */
  readonly open?: () => number;
  /** The one that it must not be; absent: this thread's own. `any`: it may be every one. */
  readonly forbidden?: NamespaceId | 'any';
  /** Nothing is changed in it: its socket asks the same but once. */
  readonly onlyRead?: boolean;
}

/**
 * Opens the pod's namespace for `body`.
 * @throws NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID (no network namespace, or the forbidden one) · KERNEL_EMFILE, and what else says nothing of it
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
    return enter(open === undefined ? openFile(path, O_RDONLY) : open());
  } catch (thrown) {
    // Without a descriptor nothing is known of the namespace: whoever goes on without one that is gone must not.
    if (leavesUnknown(thrown)) throw thrown;
    throw netnsFailure('NETWORK_NETNS_MISSING', 'not-found', path, reasonOf(thrown));
  }
}

function refuseOthers(path: string, fd: number, forbidden: NamespaceId | 'any'): void {
  const given = fstatSync(fd);
  if (given.dev !== ownNamespace().dev)
    throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, 'it is no namespace: nothing is pinned there');
  // nsfs holds namespaces of other kinds as well.
  if (!isNamespaceOf(fd, 'net')) throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, 'it is a namespace of another kind');
  if (forbidden !== 'any' && given.ino === forbidden.ino)
    throw netnsFailure('NETWORK_NETNS_INVALID', 'invalid', path, "it is the caller's own namespace");
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

import { fstatSync, statSync } from 'node:fs';
import { O_RDONLY, closeFd, inNamespaces, openFile } from '../../base/kernel/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';

/** Pinned network namespaces, told apart by the inode that nsfs gives each. */

const ownPath = '/proc/thread-self/ns/net';

/** Whether a namespace is pinned at the path: a plain file left by an unpin is not one. */
export function namespaceStands(path: string): boolean {
  try {
    return statSync(path).dev === statSync(ownPath).dev;
  } catch {
    return false;
  }
}

/**
 * Opens the pod's namespace for `body`.
 * @throws NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID (not a namespace, or the daemon's own)
 */
export function withNetns<T>(path: string, body: (fd: number) => T): T {
  let fd: number;
  try {
    fd = openFile(path, O_RDONLY);
  } catch (thrown) {
    throw failure('NETWORK_NETNS_MISSING', 'not-found', path, reasonOf(thrown));
  }
  try {
    const own = statSync(ownPath);
    const given = fstatSync(fd);
    if (given.dev !== own.dev) throw failure('NETWORK_NETNS_INVALID', 'invalid', path, 'it is no namespace: nothing is pinned there');
    if (given.ino === own.ino) throw failure('NETWORK_NETNS_INVALID', 'invalid', path, "it is the daemon's own namespace");
    enter(path, fd);
    return body(fd);
  } finally {
    closeFd(fd);
  }
}

/** Only a network namespace can be entered as one; nsfs holds the other kinds as well. */
function enter(path: string, fd: number): void {
  try {
    inNamespaces({ net: fd }, () => undefined);
  } catch (thrown) {
    throw failure('NETWORK_NETNS_INVALID', 'invalid', path, `it cannot be entered: ${reasonOf(thrown)}`);
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

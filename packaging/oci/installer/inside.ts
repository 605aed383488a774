import { lstatSync, readlinkSync } from 'node:fs';
import { posix } from 'node:path';

/** As the kernel does. */
const mostLinks = 40;

/**
 * Returns where a path of the host is, seen from this container: an absolute link of the host, such as
 * `/opt -> /data/opt`, leads to a place below the host's root and never into the container.
 * @param root where the root of the host is mounted
 * @param path absolute path on the host; its last component is not followed, and may not exist
 * @throws Error for a loop of links
 */
export function insideHost(root: string, path: string): string {
  const waiting = path.split('/');
  const last = waiting.pop() ?? '';
  let at = '/';
  for (let links = 0; waiting.length > 0;) {
    const part = waiting.shift() ?? '';
    const next = posix.join(at, part);
    const facts = lstatSync(root + next, { throwIfNoEntry: false });
    if (facts?.isSymbolicLink() !== true) {
      at = next;
      continue;
    }
    links += 1;
    if (links > mostLinks) throw new Error(`read ${path} of the host: too many links`);
    const target = readlinkSync(root + next);
    if (target.startsWith('/')) at = '/';
    waiting.unshift(...target.split('/'));
  }
  return root + posix.join(at, last);
}

import { tolerating } from '../protocol/kernel-failure.ts';
import { deleteLink, getLink } from './links.ts';
import { acknowledged } from '../protocol/socket.ts';
import type { NetlinkSocket } from '../protocol/socket.ts';

/**
 * Removes links. The kernel takes a link off every list at once, and then waits tens of milliseconds for its
 * remaining users (two RCU grace periods) before it answers. So the request runs in another thread, and this
 * code only waits until the link is on no list: it cannot be found, no packet passes it, and its name and
 * addresses are free.
 */

/** Half of libuv's pool, in whose threads the requests wait. The pool serves every file of the process. */
const most = 2;
let underWay = 0;

const patienceMs = 200;
const pauseMs = 0.05;
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Removes a link and returns when it is gone. A missing link is not an error. The link is selected by its
 * index, which no other link gets: when a late request is served, another link may have the name.
 * @param open makes a socket in the namespace of `route`
 * @throws PortcullisError if the kernel refuses the removal
 */
export function removeLink(route: NetlinkSocket, index: number, open: () => NetlinkSocket): void {
  const exists = (): boolean => route.find(getLink({ index }), 'ENODEV') !== undefined;
  if (underWay < most) {
    removeApart(index, open);
    for (
      const deadline = performance.now() + patienceMs;
      performance.now() < deadline;
      Atomics.wait(sleepCell, 0, 0, pauseMs)
    )
      if (!exists()) return;
  }
  // The request was refused, or every thread of the pool waits for a disk: this call needs the kernel's own
  // words, or its time.
  tolerating(['ENODEV'], () => route.run([deleteLink({ index })]));
}

function removeApart(index: number, open: () => NetlinkSocket): void {
  const socket = open();
  underWay += 1;
  void socket
    .runApart(acknowledged(deleteLink({ index })))
    // The caller that waits sees whether it was done.
    .catch(() => undefined)
    .finally(() => {
      underWay -= 1;
      socket.close();
    });
}

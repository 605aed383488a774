import { isRefusal } from './kernel-failure.ts';
import { deleteLink, getLink } from './links.ts';
import { acknowledged } from './socket.ts';
import type { NetlinkSocket } from './socket.ts';

/**
 * Removes links. The kernel takes a link off every list at once, and then waits tens of milliseconds for whoever still looks at it (two RCU
 * grace periods) before it answers. So the request is made in another thread, and here it is only awaited that the link is on no list: nobody
 * finds it, nothing passes it, its name and addresses are free.
 */

/** Half of libuv's pool, in whose threads the requests wait: it serves every file of the process. */
const most = 2;
let underWay = 0;

const patienceMs = 200;
const pauseMs = 0.05;
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

/**
 * A link that is gone is fine. Returns when it is. By index, which no other link gets: a name may be another one's when a late request is served.
 * @param open makes a socket in the namespace of `route`
 */
export function removeLink(route: NetlinkSocket, index: number, open: () => NetlinkSocket): void {
  const stands = (): boolean => route.find(getLink({ index }), 'ENODEV') !== undefined;
  if (underWay < most) {
    removeApart(index, open);
    for (const deadline = performance.now() + patienceMs; performance.now() < deadline; Atomics.wait(sleepCell, 0, 0, pauseMs))
      if (!stands()) return;
  }
  // Refused, or every thread of the pool waits for a disk: the kernel's own words are needed, or its time.
  try {
    route.run([deleteLink({ index })]);
  } catch (thrown) {
    if (!isRefusal(thrown, 'ENODEV')) throw thrown;
  }
}

function removeApart(index: number, open: () => NetlinkSocket): void {
  const socket = open();
  underWay += 1;
  void socket
    .runApart(acknowledged(deleteLink({ index })))
    // Whether it was done is seen by whoever waits.
    .catch(() => undefined)
    .finally(() => {
      underWay -= 1;
      socket.close();
    });
}

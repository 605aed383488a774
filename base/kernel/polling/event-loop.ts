import { koffi } from '../../process/index.ts';

/**
 * Calls back in the event loop of this thread whenever `fd` is readable, and repeats this while the state
 * lasts. Sets O_NONBLOCK. The watch alone does not keep the process alive. Returns the function that ends it,
 * which must run before the descriptor is closed.
 * @throws Error of libuv for a descriptor that cannot be polled, such as a regular file
 */
export function watchInEventLoop(fd: number, callback: () => void): () => void {
  let ended = false;
  const handle = koffi().node.poll(fd, { readable: true }, () => {
    // koffi calls this outside of Node's scope of callbacks: promises are not continued afterwards, and
    // exceptions are not reported. Immediates run in the same turn of the loop.
    setImmediate(() => {
      if (!ended) callback();
    });
  });
  handle.unref();
  return () => {
    ended = true;
    handle.close();
  };
}

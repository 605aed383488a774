/**
 * Runs bodies one after another, in the order of the calls. A body that fails does not stop the next one.
 * Returns the body's result, or throws its error.
 */
export type SerialQueue = <T>(body: () => Promise<T>) => Promise<T>;

/** Creates an empty queue. */
export function createSerialQueue(): SerialQueue {
  let tail: Promise<unknown> = Promise.resolve();
  return (body) => {
    const turn = tail.then(body);
    tail = turn.catch(() => undefined);
    return turn;
  };
}

/**
 * Runs one body for all callers that arrive with the same key while it runs, or while a caller keeps its
 * result; the next caller starts it again.
 */
export interface SharedFlight<T> {
  /**
   * `body` is aborted only when every caller has left. A caller whose signal is aborted gets the signal's
   * reason at once. All callers share a failure.
   * @param kept until it settles, later callers get the result of this caller; absent: they start the body
   */
  join(
    key: string,
    signal: AbortSignal,
    body: (signal: AbortSignal) => Promise<T>,
    kept?: Promise<unknown>,
  ): Promise<T>;
  /** How many bodies have run: for tests. */
  readonly runs: number;
}

interface Flight<T> {
  readonly result: Promise<T>;
  readonly stop: AbortController;
  /** Callers that wait for the result, or keep it. */
  passengers: number;
}

export function createSharedFlight<T>(): SharedFlight<T> {
  const flights = new Map<string, Flight<T>>();
  let runs = 0;

  const end = (key: string, flight: Flight<T>): void => {
    if (flights.get(key) === flight) flights.delete(key);
  };

  const begin = (key: string, body: (signal: AbortSignal) => Promise<T>): Flight<T> => {
    runs += 1;
    const stop = new AbortController();
    const flight: Flight<T> = { result: body(stop.signal), stop, passengers: 0 };
    flight.result.catch(() => end(key, flight));
    flights.set(key, flight);
    return flight;
  };

  return {
    get runs() {
      return runs;
    },
    async join(key, signal, body, kept) {
      signal.throwIfAborted();
      const flight = flights.get(key) ?? begin(key, body);
      flight.passengers += 1;
      const leave = (): void => {
        flight.passengers -= 1;
        if (flight.passengers > 0) return;
        // No caller waits any more: a later caller must not join a body that is being stopped.
        end(key, flight);
        flight.stop.abort(signal.reason);
      };
      const { promise: gone, reject } = Promise.withResolvers<never>();
      const abandon = (): void => reject(signal.reason);
      signal.addEventListener('abort', abandon, { once: true });
      try {
        const value = await Promise.race([flight.result, gone]);
        if (kept === undefined) leave();
        else kept.then(leave, leave);
        return value;
      } catch (thrown) {
        leave();
        throw thrown;
      } finally {
        signal.removeEventListener('abort', abandon);
      }
    },
  };
}

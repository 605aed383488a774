/**
 * Runs one body for all callers that arrive with the same key while it runs; the next caller starts it again.
 */
export interface SharedFlight<T> {
  /**
   * `body` is aborted only when every caller has left. A caller whose signal is aborted gets the signal's
   * reason at once. All callers share a failure.
   */
  join(key: string, signal: AbortSignal, body: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** How many bodies have run: for tests. */
  readonly runs: number;
}

interface Flight<T> {
  readonly result: Promise<T>;
  readonly stop: AbortController;
  passengers: number;
}

export function createSharedFlight<T>(): SharedFlight<T> {
  const flights = new Map<string, Flight<T>>();
  let runs = 0;

  const begin = (key: string, body: (signal: AbortSignal) => Promise<T>): Flight<T> => {
    runs += 1;
    const stop = new AbortController();
    const flight: Flight<T> = { result: body(stop.signal), stop, passengers: 0 };
    const end = (): void => {
      if (flights.get(key) === flight) flights.delete(key);
    };
    flight.result.then(end, end);
    flights.set(key, flight);
    return flight;
  };

  return {
    get runs() {
      return runs;
    },
    async join(key, signal, body) {
      signal.throwIfAborted();
      const flight = flights.get(key) ?? begin(key, body);
      flight.passengers += 1;
      const { promise: gone, reject } = Promise.withResolvers<never>();
      const leave = (): void => reject(signal.reason);
      signal.addEventListener('abort', leave, { once: true });
      try {
        return await Promise.race([flight.result, gone]);
      } finally {
        signal.removeEventListener('abort', leave);
        flight.passengers -= 1;
        if (flight.passengers === 0) {
          // No caller waits any more: a later caller must not join a body that is being stopped.
          if (flights.get(key) === flight) flights.delete(key);
          flight.stop.abort(signal.reason);
        }
      }
    },
  };
}

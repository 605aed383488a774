import { isPortcullisError } from '../../base/errors/index.ts';
import type { CallOptions } from '../../base/ttrpc/index.ts';
import { callTimeoutMs } from './task-api.ts';
import type { TaskApi } from './task-api.ts';

/** Shims answer most calls within milliseconds. A call that may take longer has a longer time limit. */
export const silenceMs = 30_000;

/**
 * Watches whether a shim answers. One that hangs can neither end its tasks nor say that they ended, so it is
 * given up: a call has had no answer within its time, no call was answered for 30 seconds, and no call that
 * may take longer is within its time. Calls without a time limit, which wait for the end of a task, do not
 * count.
 * @param silent is called each time that this is found
 */
export function watchSilence(
  silent: () => void,
  { now = () => performance.now(), limitMs = silenceMs } = {},
): { watched(api: TaskApi): TaskApi; unreachable(): void } {
  let heard = now();
  let waiting = 0;
  /** The ends of the times of the calls that may take longer, by an object for each call. */
  const long = new Map<object, number>();
  const look = (): void => {
    const time = now();
    if (time - heard < limitMs) return;
    for (const until of long.values()) if (until > time) return;
    silent();
  };
  const watchedCall =
    (call: (request: never, options?: CallOptions) => Promise<unknown>) =>
    async (request: never, options: CallOptions = {}): Promise<unknown> => {
      const { timeoutMs = callTimeoutMs } = options;
      // Silence before a call says nothing: nobody asked.
      if (waiting === 0) heard = now();
      const isCounted = Number.isFinite(timeoutMs);
      const key = {};
      if (isCounted) waiting += 1;
      if (isCounted && timeoutMs > limitMs) long.set(key, now() + timeoutMs);
      try {
        const answer = await call(request, options);
        heard = now();
        return answer;
      } catch (thrown) {
        long.delete(key);
        if (isPortcullisError(thrown) && thrown.code === 'TTRPC_TIMEOUT') look();
        else if (isAnswer(thrown)) heard = now();
        throw thrown;
      } finally {
        long.delete(key);
        if (isCounted) waiting -= 1;
      }
    };
  return {
    watched: (api) => {
      const { closed, close, ...calls } = api;
      const entries = Object.entries(calls).map(([name, call]) => [name, watchedCall(call)]);
      return { ...Object.fromEntries(entries), closed, close } as TaskApi;
    },
    unreachable: look,
  };
}

const noAnswer: ReadonlySet<string> = new Set([
  'TTRPC_BUSY',
  'TTRPC_CANCELLED',
  'TTRPC_CLOSED',
  'TTRPC_TOO_LARGE',
]);

function isAnswer(thrown: unknown): boolean {
  return isPortcullisError(thrown) && thrown.code.startsWith('TTRPC_') && !noAnswer.has(thrown.code);
}

import { isPortcullisError } from '../../base/errors/index.ts';
import type { CallOptions } from '../../base/ttrpc/index.ts';
import { callTimeoutMs } from './task-api.ts';
import type { TaskApi } from './task-api.ts';

/** Shims answer most calls within milliseconds. A call that may take longer has a longer time limit. */
export const silenceMs = 30_000;
/** A call that waits for no process: `Connect` only names the shim's own number. */
export const probe = { id: 'portcullis-probe' };
const probeMs = 10_000;

/**
 * Watches whether a shim answers. One that hangs can neither end its tasks nor say that they ended, so it is
 * given up: a call has had no answer within its time, no call was answered for 30 seconds, no call that may
 * take longer is within its time, and then the shim answers no probe for 10 seconds. Without the probe, a
 * healthy shim would be given up for one call that waits for something else, such as systemd. Calls without
 * a time limit, which wait for the end of a task, do not count.
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
  let probing = false;
  const isSilent = (): boolean => {
    const time = now();
    return time - heard >= limitMs && ![...long.values()].some((until) => until > time);
  };
  const look = async (connect: TaskApi['connect']): Promise<void> => {
    if (probing || !isSilent()) return;
    probing = true;
    // A call that begins now does not begin the silence again.
    waiting += 1;
    try {
      await connect(probe, { timeoutMs: probeMs });
      heard = now();
    } catch (thrown) {
      if (isTimeout(thrown)) {
        if (isSilent()) silent();
      } else if (isAnswer(thrown)) heard = now();
    } finally {
      probing = false;
      waiting -= 1;
    }
  };
  const watchedCall =
    (call: (request: never, options?: CallOptions) => Promise<unknown>, connect: TaskApi['connect']) =>
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
        if (isTimeout(thrown)) void look(connect);
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
      const entries = Object.entries(calls).map(([name, call]) => [name, watchedCall(call, calls.connect)]);
      return { ...Object.fromEntries(entries), closed, close } as TaskApi;
    },
    unreachable: () => {
      if (isSilent()) silent();
    },
  };
}

const noAnswer: ReadonlySet<string> = new Set([
  'TTRPC_BUSY',
  'TTRPC_CANCELLED',
  'TTRPC_CLOSED',
  'TTRPC_TOO_LARGE',
]);

/** Whether a call had no answer within its time. */
export function isTimeout(thrown: unknown): boolean {
  return isPortcullisError(thrown) && thrown.code === 'TTRPC_TIMEOUT';
}

function isAnswer(thrown: unknown): boolean {
  return isPortcullisError(thrown) && thrown.code.startsWith('TTRPC_') && !noAnswer.has(thrown.code);
}

/** Caches the answers of programs for callers that ask often and cannot wait for a program that hangs. */
export interface LatestAnswer<Asked, Word> {
  /**
   * Returns the last answer if it is at most `keptMs` old, otherwise a new answer. If the new answer takes
   * longer than `patienceMs`, the previous answer is returned. Undefined: there was never an answer for this
   * key.
   * @param of the key; an answer for another key does not count
   */
  about(of: string, asked: Asked): Promise<{ readonly word: Word } | undefined>;
}

interface Asking<Word> {
  readonly of: string;
  /** The request in progress: one at a time, even if it hangs. */
  running?: Promise<void>;
  last?: { readonly at: number; readonly word: Word };
}

/** Creates the cache. @param ask never rejects */
export function createLatestAnswer<Asked, Word>(
  ask: (asked: Asked) => Promise<Word>,
  { keptMs, patienceMs }: { readonly keptMs: number; readonly patienceMs: number },
): LatestAnswer<Asked, Word> {
  let now: Asking<Word> | undefined;
  return {
    async about(of, asked) {
      const asking: Asking<Word> = now?.of === of ? now : { of };
      now = asking;
      if (
        asking.running === undefined &&
        (asking.last === undefined || performance.now() - asking.last.at > keptMs)
      )
        asking.running = ask(asked).then((word) => {
          asking.last = { at: performance.now(), word };
          delete asking.running;
        });
      if (asking.running !== undefined) await atMost(asking.running, patienceMs);
      return asking.last;
    },
  };
}

async function atMost(act: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([act, late]);
  clearTimeout(timer);
}

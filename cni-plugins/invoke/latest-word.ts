/** What programs say of themselves, for whoever asks often and can not wait for one that hangs. */
export interface LatestWord<Asked, Word> {
  /**
   * What was said: at most `keptMs` ago, else what is said now, else, where that takes longer than `patienceMs`, what was said before. Undefined:
   * nothing was ever said about this.
   * @param of about what; a word about something else is none
   */
  about(of: string, asked: Asked): Promise<{ readonly word: Word } | undefined>;
}

interface Asking<Word> {
  readonly of: string;
  /** Of whoever is asked now: one at a time, also while it hangs. */
  running?: Promise<void>;
  last?: { readonly at: number; readonly word: Word };
}

/** @param ask never rejects */
export function createLatestWord<Asked, Word>(
  ask: (asked: Asked) => Promise<Word>,
  { keptMs, patienceMs }: { readonly keptMs: number; readonly patienceMs: number },
): LatestWord<Asked, Word> {
  let now: Asking<Word> | undefined;
  return {
    async about(of, asked) {
      const asking: Asking<Word> = now?.of === of ? now : { of };
      now = asking;
      if (asking.running === undefined && (asking.last === undefined || performance.now() - asking.last.at > keptMs))
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

import type { Logger } from '../../base/log/index.ts';
import { afterFailure, afterSuccess, noAttempts } from '../model/backoff.ts';
import type { Attempts } from '../model/backoff.ts';
import type { Section } from '../model/types.ts';
import type { StatusFailure } from '../store/node-files.ts';

/** The problems of a section, and the times at which failed changes may be tried again. */
export interface FailureNotes {
  /** Notes what is wrong with an item, or with the section, and logs it once for each reason. */
  note(item: string | undefined, why: string): void;
  /** Notes a change that failed, which is tried again after a wait. */
  failed(item: string, why: string): void;
  /**
   * @param backsOff the item is not recreated at once if it soon disappears again
   */
  succeeded(item: string, backsOff: boolean): void;
  mayTry(item: string): boolean;
  /** Forgets what is wrong with the section itself. */
  clearSection(): void;
  /** Forgets what was wrong with items that are not among these. */
  keepOnly(items: ReadonlySet<string>): void;
  clear(): void;
  list(): readonly StatusFailure[];
}

/** @param now a clock that only rises, in ms */
export function createFailureNotes(section: Section, log: Logger, now: () => number): FailureNotes {
  const attempts = new Map<string, Attempts>();
  const failures = new Map<string, StatusFailure>();
  const set = (item: string | undefined, why: string, attempt?: Attempts): void => {
    const known = failures.get(item ?? '');
    const named = item === undefined ? {} : { item };
    if (known?.why !== why) log.warn({ section, ...named, why }, 'the section is not in its desired state');
    failures.set(item ?? '', {
      ...named,
      why,
      attempts: attempt?.failures ?? (known?.attempts ?? 0) + 1,
      ...(attempt !== undefined && {
        next: new Date(Date.now() + attempt.notBefore - now()).toISOString(),
      }),
    });
  };
  return {
    note: set,
    failed(item, why) {
      const next = afterFailure(attempts.get(item) ?? noAttempts, now());
      attempts.set(item, next);
      set(item, why, next);
    },
    succeeded(item, backsOff) {
      attempts.set(item, afterSuccess(attempts.get(item) ?? noAttempts, now(), backsOff));
      failures.delete(item);
    },
    mayTry: (item) => (attempts.get(item)?.notBefore ?? 0) <= now(),
    clearSection: () => void failures.delete(''),
    keepOnly(items) {
      for (const item of failures.keys()) if (item !== '' && !items.has(item)) failures.delete(item);
    },
    clear() {
      attempts.clear();
      failures.clear();
    },
    list: () => [...failures.values()],
  };
}

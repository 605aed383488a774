import type { FileReader } from './file-reader.ts';
import type { ReadAnswer } from './messages.ts';
import type { FileStamp } from './stamps.ts';
import type { StoredFile } from './stored-set.ts';

/** The last good version of each file of the folder, and the problems of the current one. */
export interface HeldFiles<Reading extends object> {
  /** Loads versions that were kept on disk. */
  load(files: readonly StoredFile<Reading>[]): void;
  /**
   * Compares the files with their previous stamps. Requests a read of files that changed and are quiet. The
   * result takes effect at the next call.
   */
  /** @param at where the files are read; defaults to the folder itself */
  look(stamps: ReadonlyMap<string, FileStamp>, at?: string): void;
  /** Returns whether a file waits to become quiet, to be read or to be removed. */
  isWaiting(): boolean;
  isEmpty(): boolean;
  readings(): readonly Reading[];
  held(): readonly StoredFile<Reading>[];
  /** Returns the problems, one line each. */
  problems(): readonly string[];
  /**
   * Returns whether all files can be read. Files that were empty at the first look and have no good version
   * do not count.
   */
  areKnown(): boolean;
  /** Returns a number that changes whenever the result of another method changes. */
  revision(): number;
}

interface File<Reading> {
  /** The last good version. */
  good?: { readonly stamp: string; readonly reading: Reading };
  /** The current stamp. Undefined: no file exists, or it has no stamp. */
  seen: string | undefined;
  /** Since when the stamp is the same, on the clock of `performance.now`. */
  since: number;
  isReading: boolean;
  /** The stamp with which the file was refused. */
  refused?: string;
  /** The stamp at the first look. */
  first?: string;
  /** The file was refused because it has nothing but comments and markers. */
  isEmpty?: boolean;
  problems: readonly string[];
}

/** Delay after a failure that the file did not cause. */
const retryMs = 2_000;
/**
 * A file that is removed while others change may have been renamed. Its removal is delayed by at most this
 * time.
 */
const mostRemovalMs = 5_000;

export function createHeldFiles<Reading extends object>(
  reader: Pick<FileReader<Reading>, 'read'>,
  folder: string,
  quietMs: number,
): HeldFiles<Reading> {
  const files = new Map<string, File<Reading>>();
  let revision = 0;
  let isWaiting = false;
  let isFirst = true;

  const say = (file: File<Reading>, problems: readonly string[]): void => {
    if (problems.join('\n') === file.problems.join('\n')) return;
    file.problems = problems;
    revision += 1;
  };

  /** Takes over the result of a read. @param at where the file was read; problems name the folder itself */
  const take = (
    file: File<Reading>,
    name: string,
    at: string,
    { stamp, result, failed }: ReadAnswer<Reading>,
  ): void => {
    file.isReading = false;
    if (failed !== undefined) {
      file.since = performance.now() + retryMs;
      say(file, [`${folder}/${name}:1:1: it cannot be read: ${failed}; it is tried again`]);
    }
    if (result === undefined) return;
    revision += 1;
    if ('unreadable' in result) {
      file.refused = stamp;
      file.isEmpty = result.isEmpty === true;
      say(
        file,
        result.unreadable.map((line) =>
          line.startsWith(`${at}/`) ? `${folder}${line.slice(at.length)}` : line,
        ),
      );
    } else {
      file.good = { stamp, reading: result };
      say(file, []);
    }
  };

  /** Follows one file. @returns whether it waits */
  const follow = (name: string, found: FileStamp, now: number, at: string): boolean => {
    const file: File<Reading> = files.get(name) ?? { seen: '', since: now, isReading: false, problems: [] };
    files.set(name, file);
    if ('problem' in found) {
      if (file.seen !== undefined) Object.assign(file, { seen: undefined, since: now });
      say(file, [`${folder}/${name}:1:1: it cannot be read: ${found.problem}`]);
      return false;
    }
    if (file.seen !== found.stamp) {
      file.seen = found.stamp;
      if (isFirst) file.first = found.stamp;
      // A file that was written long before the first look is quiet.
      file.since = isFirst && Date.now() - found.changedMs > quietMs ? -Infinity : now;
    }
    if (file.isReading) return true;
    if (file.good?.stamp === found.stamp) {
      say(file, []);
      return false;
    }
    if (file.refused === found.stamp) return false;
    if (now - file.since < quietMs) return true;
    file.isReading = true;
    void reader.read({ folder: at, name, stamp: found.stamp }).then((answer) => take(file, name, at, answer));
    return true;
  };

  /**
   * Drops removed files together with the arrival of their possible replacements, so that renaming a file
   * leaves no gap.
   */
  const drop = (stamps: ReadonlyMap<string, FileStamp>, now: number): boolean => {
    const gone = [...files].filter(([name]) => !stamps.has(name));
    for (const [, file] of gone) {
      if (file.seen !== undefined) Object.assign(file, { seen: undefined, since: now });
      say(file, []);
    }
    const isQuiet = [...files.values()].every(({ since, isReading }) => !isReading && now - since >= quietMs);
    const ready = gone.filter(
      ([, { since, isReading }]) => !isReading && (isQuiet || now - since >= mostRemovalMs),
    );
    for (const [name] of ready) files.delete(name);
    if (ready.length > 0) revision += 1;
    return ready.length < gone.length;
  };

  const sorted = (): [string, File<Reading>][] => [...files].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const held = (): StoredFile<Reading>[] =>
    sorted().flatMap(([name, { good }]) => (good === undefined ? [] : [{ name, ...good }]));

  return {
    load(stored) {
      for (const { name, ...good } of stored)
        files.set(name, { good, seen: '', since: 0, isReading: false, problems: [] });
    },
    look(stamps, at = folder) {
      const now = performance.now();
      const waiting = [...stamps].map(([name, found]) => follow(name, found, now, at));
      isWaiting = drop(stamps, now) || waiting.includes(true);
      isFirst = false;
    },
    isWaiting: () => isWaiting,
    isEmpty: () => held().length === 0,
    readings: () => held().map(({ reading }) => reading),
    held,
    problems: () => sorted().flatMap(([, file]) => problemsOf(file)),
    areKnown: () => [...files.values()].every(isKnown),
    revision: () => revision,
  };
}

function problemsOf({ good, problems }: File<unknown>): string[] {
  const holds = good === undefined ? 'nothing of it is in force' : 'its last good version stays in force';
  return problems.map((line) => `${line} (${holds})`);
}

function isKnown({ good, problems, refused, first, seen, isEmpty }: File<unknown>): boolean {
  return (
    problems.length === 0 || (good === undefined && isEmpty === true && refused === first && seen === first)
  );
}

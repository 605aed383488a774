import type { FileReader } from './file-reader.ts';
import type { ReadAnswer } from './messages.ts';
import type { FileStamp } from './stamps.ts';
import type { StoredFile } from './stored-set.ts';

/** The last good version of each file of the folder, and what is wrong with what is there now. */
export interface HeldFiles<Reading extends object> {
  /** Versions that were kept on disk. */
  load(files: readonly StoredFile<Reading>[]): void;
  /** The files as they are now. Asks for those to be read that changed and are quiet; what was read counts from the next look on. */
  /** @param at where they are read; the folder itself unless given */
  look(stamps: ReadonlyMap<string, FileStamp>, at?: string): void;
  /** Whether a file waits to be quiet, read or removed. */
  isWaiting(): boolean;
  isEmpty(): boolean;
  readings(): readonly Reading[];
  held(): readonly StoredFile<Reading>[];
  /** One line each. */
  problems(): readonly string[];
  /** Whether all files can be read, but for those that were empty at the first look already and have no good version. */
  areKnown(): boolean;
  /** Another number after each change of what the others say. */
  revision(): number;
}

interface File<Reading> {
  /** The last good version. */
  good?: { readonly stamp: string; readonly reading: Reading };
  /** What is there now; undefined: nothing, or what has no stamp. */
  seen: string | undefined;
  /** Since when, on the clock of `performance.now`. */
  since: number;
  isReading: boolean;
  /** The stamp with which it was refused. */
  refused?: string;
  /** The stamp that it had at the first look. */
  first?: string;
  /** Why it was refused: it has nothing but comments and markers. */
  isEmpty?: boolean;
  problems: readonly string[];
}

/** After a failure that is not the file's. */
const retryMs = 2_000;
/** A file that is removed while others change may be on its way to another name; it is waited for no longer than this. */
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

  /** @param at where it was read: problems name the folder itself */
  const take = (file: File<Reading>, name: string, at: string, { stamp, result, failed }: ReadAnswer<Reading>): void => {
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
        result.unreadable.map((line) => (line.startsWith(`${at}/`) ? `${folder}${line.slice(at.length)}` : line)),
      );
    } else {
      file.good = { stamp, reading: result };
      say(file, []);
    }
  };

  /** @returns whether it waits */
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
      // What was written long before the first look is quiet.
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

  /** Those that are gone: together with what may come in their place, so that a file which gets another name leaves no gap. */
  const drop = (stamps: ReadonlyMap<string, FileStamp>, now: number): boolean => {
    const gone = [...files].filter(([name]) => !stamps.has(name));
    for (const [, file] of gone) {
      if (file.seen !== undefined) Object.assign(file, { seen: undefined, since: now });
      say(file, []);
    }
    const isQuiet = [...files.values()].every(({ since, isReading }) => !isReading && now - since >= quietMs);
    const ready = gone.filter(([, { since, isReading }]) => !isReading && (isQuiet || now - since >= mostRemovalMs));
    for (const [name] of ready) files.delete(name);
    if (ready.length > 0) revision += 1;
    return ready.length < gone.length;
  };

  const sorted = (): [string, File<Reading>][] => [...files].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const held = (): StoredFile<Reading>[] => sorted().flatMap(([name, { good }]) => (good === undefined ? [] : [{ name, ...good }]));

  return {
    load(stored) {
      for (const { name, ...good } of stored) files.set(name, { good, seen: '', since: 0, isReading: false, problems: [] });
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
    problems: () =>
      sorted().flatMap(([, { good, problems }]) => {
        const holds = good === undefined ? 'nothing of it is in force' : 'its last good version stays in force';
        return problems.map((line) => `${line} (${holds})`);
      }),
    areKnown: () =>
      [...files.values()].every(
        ({ good, problems, refused, first, seen, isEmpty }) =>
          problems.length === 0 || (good === undefined && isEmpty === true && refused === first && seen === first),
      ),
    revision: () => revision,
  };
}

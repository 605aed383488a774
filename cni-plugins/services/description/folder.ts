import { readdirSync } from 'node:fs';
import { startWorker } from '../../../base/process/index.ts';
import { createFileReader, readerLimits } from '../../followed-files/file-reader.ts';
import { createFolderLook } from '../../followed-files/folder-look.ts';
import { createHeldFiles } from '../../followed-files/last-good-files.ts';
import { isFollowed } from '../../followed-files/stamps.ts';
import { openSetStore } from '../../followed-files/stored-set.ts';
import type { StoredFile } from '../../followed-files/stored-set.ts';
import type { Described } from './read.ts';
import { limits } from './source-text.ts';

/** The followed folder of descriptions. */
export interface ServiceFolder {
  /** Returns the current services if they changed since the last call. The first call always returns them. */
  changed(): FolderServices | undefined;
  /** Resolves when no file is being written or read, at the latest after 30 s. */
  settled(): Promise<void>;
  close(): void;
}

export interface FolderServices {
  readonly described: readonly Described[];
  /** Services of files that have not been readable since the start: they stay unchanged. */
  readonly kept: readonly string[];
  /** The two lists above are complete. If false, services that are in neither list stay, too. */
  readonly isWhole: boolean;
  /** Lines of text with their positions. */
  readonly problems: readonly string[];
}

/** The result of one file: its services, or, after a start, the names that it had before. */
type FileReading = { readonly described: readonly Described[] } | { readonly names: readonly string[] };

export interface ServiceFolderOptions {
  /** May be missing. */
  readonly folder: string;
  /** Returns the path at which the folder can be read now; may throw. Absent: the folder itself. */
  readonly at?: () => string;
  /** File that stores which services each file had. */
  readonly storedAt: string;
  readonly log: { error(fields: object, message: string): void };
  /** How long a file must be unchanged before it is read, in ms. */
  readonly quietMs?: number;
}

/**
 * Whether there is any file to read.
 * @param at returns the path at which the folder can be read now; may throw
 */
export function hasDescriptions(at: () => string): boolean {
  try {
    return readdirSync(at()).some(isFollowed);
  } catch {
    return false;
  }
}

const usualQuietMs = 250;
/** A start waits this long, and no longer, for files that are being written or read. */
const startMs = 30_000;
const startLookMs = 25;
/** The most services of all files together. */
const mostServices = 50_000;
/** Changes when the meaning of the stored data changes. */
const format = 'portcullis-service-files 1';

/**
 * Opens the folder, by these rules:
 * - A file is read when it is quiet, and taken as a whole. A file that is empty, half written or has a
 *   problem keeps its last good version. A file that is removed from the folder, and stays away, takes its
 *   services with it.
 * - A folder changes nothing if it is gone, cannot be listed, holds more than the limits, or is a different
 *   and empty folder (nothing is mounted there any more).
 * - The services themselves are durable elsewhere. This folder stores which file had which services, so that
 *   these rules also apply across a restart.
 */
export function openServiceFolder(options: ServiceFolderOptions): ServiceFolder {
  const { folder, at, storedAt, log, quietMs = usualQuietMs } = options;
  const store = openSetStore<{ readonly names: readonly string[] }>({
    path: storedAt,
    format,
    what: 'files of services',
    log,
  });
  const stored = store.last();
  const reader = createFileReader<FileReading>(() =>
    startWorker(import.meta.url, './service-files.worker.ts', { resourceLimits: readerLimits }),
  );
  const files = createHeldFiles(reader, folder, quietMs);
  const known = stored !== 'damaged' && stored?.folder === folder ? stored : undefined;
  // The files are read again anyway: the text is needed to locate refusals.
  files.load((known?.files ?? []).map(({ name, reading }) => ({ name, stamp: '', reading })));
  const whole = createFolderLook(files, {
    folder,
    ...(at && { at }),
    limits,
    ...(known !== undefined && { identity: known.identity }),
    what: 'services',
    none: 'remove each service file individually, or write a file with one service',
  });
  let lost =
    stored === 'damaged'
      ? `${storedAt} is damaged: no service from files is removed until all files in ${folder} are read`
      : '';
  /** Whether it is known which files had services. Nothing is removed until then. */
  let isKnown = known !== undefined;
  let last: { readonly revision: number; readonly problem: string; readonly isWaiting: boolean } | undefined;

  const read = (problem: string | undefined): FolderServices => {
    const held = files.held();
    const unread = files.problems();
    const isRead = problem === undefined && !files.isWaiting() && files.areKnown();
    if (isRead && unread.length === 0) lost = '';
    if (isRead && lost === '' && !files.isEmpty()) isKnown = true;
    const { described, kept, problems } = joined(held.map(({ reading }) => reading));
    const isTooMuch = described.length > mostServices;
    if (isTooMuch)
      problems.push(`${folder} has more than ${mostServices} services; the previous services stay in force`);
    return {
      described: isTooMuch ? [] : described,
      kept,
      isWhole: isKnown && !isTooMuch,
      problems: [...new Set([problem ?? '', lost, ...unread, ...problems])].filter((each) => each !== ''),
    };
  };

  const keep = (): void => {
    if (isKnown) store.keep({ folder, identity: whole.identity(), files: files.held().map(namesOf) });
  };

  return {
    changed() {
      const problem = whole.look(lost);
      const now = {
        revision: files.revision(),
        problem: problem ?? '',
        isWaiting: !isKnown && files.isWaiting(),
      };
      if (
        last?.revision === now.revision &&
        last.problem === now.problem &&
        last.isWaiting === now.isWaiting
      ) {
        if (!store.isKept()) keep();
        return undefined;
      }
      last = now;
      const services = read(problem);
      keep();
      return services;
    },
    async settled() {
      whole.look(lost);
      for (
        const end = performance.now() + startMs;
        files.isWaiting() && performance.now() < end;
        whole.look(lost)
      )
        await new Promise((resolve) => setTimeout(resolve, startLookMs));
    },
    close: reader.close,
  };
}

/** Joins the services of all files. If two files have the same service, the first file by name counts. */
function joined(readings: readonly FileReading[]): {
  described: Described[];
  kept: string[];
  problems: string[];
} {
  const described = new Map<string, Described>();
  const problems: string[] = [];
  const placeOf = ({ written: { text } }: Described): string => `${text.file}:${text.linesBefore + 1}`;
  for (const each of readings.flatMap((reading) => ('described' in reading ? reading.described : []))) {
    const { name } = each.service;
    const before = described.get(name);
    if (before === undefined) described.set(name, each);
    else
      problems.push(
        `${placeOf(each)}:1: the service ${name} occurs twice, first at ${placeOf(before)}; remove or rename one of them`,
      );
  }
  const kept = readings
    .flatMap((reading) => ('names' in reading ? reading.names : []))
    .filter((name) => !described.has(name));
  return { described: [...described.values()], kept, problems };
}

const namesOf = ({
  name,
  stamp,
  reading,
}: StoredFile<FileReading>): StoredFile<{ readonly names: readonly string[] }> => ({
  name,
  stamp,
  reading: {
    names: 'names' in reading ? reading.names : reading.described.map(({ service }) => service.name),
  },
});

import { readdirSync } from 'node:fs';
import { startWorker } from '../../../base/process/index.ts';
import { createFileReader, readerLimits } from '../../followed-files/file-reader.ts';
import { createFolderLook } from '../../followed-files/folder-look.ts';
import { createHeldFiles } from '../../followed-files/held-files.ts';
import { isFollowed } from '../../followed-files/stamps.ts';
import { openSetStore } from '../../followed-files/stored-set.ts';
import type { StoredFile } from '../../followed-files/stored-set.ts';
import type { Described } from './read.ts';
import { limits } from './source-text.ts';

/** The folder of descriptions, followed. */
export interface ServiceFolder {
  /** What it says now, when it is another than at the last call; at the first call always. */
  changed(): FolderServices | undefined;
  /** Resolves when no file waits to be quiet or read, and after 30 s. */
  settled(): Promise<void>;
  close(): void;
}

export interface FolderServices {
  readonly described: readonly Described[];
  /** Services of files that could not be read since the start: they stay as they were. */
  readonly kept: readonly string[];
  /** The two lists above are all that there is to be; else what is not in them stays, too. */
  readonly isWhole: boolean;
  /** Lines of text with their places. */
  readonly problems: readonly string[];
}

/** Of one file: as it was read, or, since a start, the names that it had before. */
type FileReading = { readonly described: readonly Described[] } | { readonly names: readonly string[] };

export interface ServiceFolderOptions {
  /** May be missing. */
  readonly folder: string;
  /** Where it can be read now; it may throw. The folder itself unless given. */
  readonly at?: () => string;
  /** File that keeps which service each file had. */
  readonly storedAt: string;
  readonly log: { error(fields: object, message: string): void };
  /** A file must have been the same for so long before it is read, in ms. */
  readonly quietMs?: number;
}

/**
 * Whether there is anything to read.
 * @param at where the folder can be read now; it may throw
 */
export function hasDescriptions(at: () => string): boolean {
  try {
    return readdirSync(at()).some(isFollowed);
  } catch {
    return false;
  }
}

const usualQuietMs = 250;
/** A start waits for files that are being written or read, but no longer. */
const startMs = 30_000;
const startLookMs = 25;
/** Of all files. */
const mostServices = 50_000;
/** Changes with the meaning of what is stored. */
const format = 'portcullis-service-files 1';

/**
 * - A file is read when it is quiet, and taken whole: one that is empty, half written or has a problem keeps its last good version. One that is
 *   removed from the folder, and stays away, takes its services with it.
 * - A folder that is gone, cannot be listed, holds more than is read, or is another one and empty (nothing is mounted there any more) changes nothing.
 * - Services themselves are durable elsewhere. What is kept here is which file had which, so that all of this holds through a restart.
 */
export function openServiceFolder(options: ServiceFolderOptions): ServiceFolder {
  const { folder, at, storedAt, log, quietMs = usualQuietMs } = options;
  const store = openSetStore<{ readonly names: readonly string[] }>({ path: storedAt, format, what: 'files of services', log });
  const stored = store.last();
  const reader = createFileReader<FileReading>(() =>
    startWorker(import.meta.url, './service-files.worker.ts', { resourceLimits: readerLimits }),
  );
  const files = createHeldFiles(reader, folder, quietMs);
  const known = stored !== 'damaged' && stored?.folder === folder ? stored : undefined;
  // Read again all the same: what is refused is known by what was written.
  files.load((known?.files ?? []).map(({ name, reading }) => ({ name, stamp: '', reading })));
  const whole = createFolderLook(files, {
    folder,
    ...(at && { at }),
    limits,
    ...(known !== undefined && { identity: known.identity }),
    what: 'services',
    none: 'remove the file of each service, or write one service',
  });
  let lost = stored === 'damaged' ? `${storedAt} is damaged: no service of files is removed until all files of ${folder} are read` : '';
  /** Whether it is known which files had services: until then nothing is removed. */
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
    if (isTooMuch) problems.push(`${folder} has more than ${mostServices} services; the last services stay in force`);
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
      const now = { revision: files.revision(), problem: problem ?? '', isWaiting: !isKnown && files.isWaiting() };
      if (last?.revision === now.revision && last.problem === now.problem && last.isWaiting === now.isWaiting) {
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
      for (const end = performance.now() + startMs; files.isWaiting() && performance.now() < end; whole.look(lost))
        await new Promise((resolve) => setTimeout(resolve, startLookMs));
    },
    close: reader.close,
  };
}

/** All that several files say. Of a service that is there twice the first one counts, by the names of files. */
function joined(readings: readonly FileReading[]): { described: Described[]; kept: string[]; problems: string[] } {
  const described = new Map<string, Described>();
  const problems: string[] = [];
  const placeOf = ({ written: { text } }: Described): string => `${text.file}:${text.linesBefore + 1}`;
  for (const each of readings.flatMap((reading) => ('described' in reading ? reading.described : []))) {
    const { name } = each.service;
    const before = described.get(name);
    if (before === undefined) described.set(name, each);
    else problems.push(`${placeOf(each)}:1: the service ${name} is there twice, first at ${placeOf(before)}; take one out, or rename it`);
  }
  const kept = readings.flatMap((reading) => ('names' in reading ? reading.names : [])).filter((name) => !described.has(name));
  return { described: [...described.values()], kept, problems };
}

const namesOf = ({ name, stamp, reading }: StoredFile<FileReading>): StoredFile<{ readonly names: readonly string[] }> => ({
  name,
  stamp,
  reading: { names: 'names' in reading ? reading.names : reading.described.map(({ service }) => service.name) },
});

import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { openServiceFolder } from '../description/folder.ts';
import type { FolderServices, ServiceFolderOptions } from '../description/folder.ts';
import { fieldText } from '../description/short-forms.ts';
import type { RefusedService, Service } from '../model/model.ts';

/** The source `files`: a folder of descriptions that is followed. */
export interface FolderSource {
  /** Resolves when the files that exist at the start have been read. */
  settled(): Promise<void>;
  /** Checks whether the folder changed, and applies it. */
  look(): Promise<void>;
  /** Returns the current problems of the files, with their positions. */
  problems(): readonly string[];
  close(): void;
}

/** Limits a report: a reader fixes the first problems first. */
const mostReported = 1000;

interface FolderSourceOptions extends Omit<ServiceFolderOptions, 'log'> {
  readonly log: Pick<Logger, 'error' | 'info'>;
  apply(services: readonly Service[], whole: boolean): readonly RefusedService[];
  /** Returns a service of the files that is in force. */
  standing(name: string): Service | undefined;
}

export function openFolderSource({
  apply,
  standing: existing,
  log,
  ...options
}: FolderSourceOptions): FolderSource {
  const { folder } = options;
  const files = openServiceFolder({ ...options, log });
  let problems: readonly string[] = [];
  let again: FolderServices | undefined;
  return {
    settled: files.settled,
    problems: () => problems,
    close: files.close,
    async look() {
      const found = files.changed() ?? again;
      if (found === undefined) return;
      again = found;
      const { described, kept, isWhole } = found;
      const refused = apply(
        [...described.map(({ service }) => service), ...kept.flatMap((name) => existing(name) ?? [])],
        isWhole,
      );
      again = undefined;
      problems = [
        ...found.problems.slice(0, mostReported),
        ...(refused.length === 0 ? [] : await refusals(folder, found, refused)),
      ];
      for (const problem of problems)
        log.error(
          { problem },
          'some service files are not in force as written; the other services are in force',
        );
      log.info(
        { folder, services: described.length, refused: refused.length },
        'the service files were read',
      );
    },
  };
}

/** Returns the refusals with their positions. */
async function refusals(
  folder: string,
  { described }: FolderServices,
  refused: readonly RefusedService[],
): Promise<readonly string[]> {
  // YAML and schemas are most of the thread's code, and are loaded only on the few nodes with a refused
  // service.
  const [{ formatProblems }, { positionIn }] = await Promise.all([
    import('../../../base/schema/index.ts'),
    import('../description/read.ts'),
  ]);
  const writtenOf = new Map(described.map(({ service, written }) => [service.name, written]));
  const start = { file: folder, line: 1, column: 1 };
  const reported = refused.slice(0, mostReported).map(({ name, field, why }) => {
    const written = writtenOf.get(name);
    return {
      position: written === undefined ? start : positionIn(written, field),
      path: `${name}: ${fieldText(field)}`,
      message: why,
    };
  });
  const more = refused.length - mostReported;
  return formatProblems([
    ...reported,
    ...(more > 0 ? [{ position: start, path: '', message: `${more} more services are refused` }] : []),
  ]).split('\n');
}

/** Returns a logging function that does not repeat the same error. */
export const reportedOnce = (log: Pick<Logger, 'error'>): ((thrown: unknown, message: string) => void) => {
  let before = '';
  return (thrown, message) => {
    const why = reasonOf(thrown);
    if (why !== before) log.error({ why }, message);
    before = why;
  };
};

import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { openServiceFolder } from '../description/folder.ts';
import type { FolderServices, ServiceFolderOptions } from '../description/folder.ts';
import { fieldText } from '../description/parts.ts';
import type { RefusedService, Service } from '../model.ts';

/** The source `files`: a folder of descriptions, followed. */
export interface FolderSource {
  /** Resolves when the files that are there at the start were read. */
  settled(): Promise<void>;
  /** Looks whether it changed, and applies what it says. */
  look(): Promise<void>;
  /** What it says that can not be, with its place; of now. */
  problems(): readonly string[];
  close(): void;
}

/** A reader mends the first ones first. */
const mostTold = 1000;

interface FolderSourceOptions extends Omit<ServiceFolderOptions, 'log'> {
  readonly log: Pick<Logger, 'error' | 'info'>;
  apply(services: readonly Service[], whole: boolean): readonly RefusedService[];
  /** A service of the files that stands. */
  standing(name: string): Service | undefined;
}

export function openFolderSource({ apply, standing, log, ...options }: FolderSourceOptions): FolderSource {
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
      const refused = apply([...described.map(({ service }) => service), ...kept.flatMap((name) => standing(name) ?? [])], isWhole);
      again = undefined;
      problems = [...found.problems.slice(0, mostTold), ...(refused.length === 0 ? [] : await refusals(folder, found, refused))];
      for (const problem of problems)
        log.error({ problem }, 'the files of services are not in force as they are written; the others stand');
      log.info({ folder, services: described.length, refused: refused.length }, 'the files of services were read');
    },
  };
}

/** With their places. */
async function refusals(folder: string, { described }: FolderServices, refused: readonly RefusedService[]): Promise<readonly string[]> {
  // YAML and schemas are most of the thread's program, and few nodes have what is refused.
  const [{ formatProblems }, { positionIn }] = await Promise.all([
    import('../../../base/schema/index.ts'),
    import('../description/read.ts'),
  ]);
  const writtenOf = new Map(described.map(({ service, written }) => [service.name, written]));
  const start = { file: folder, line: 1, column: 1 };
  const told = refused.slice(0, mostTold).map(({ name, field, why }) => {
    const written = writtenOf.get(name);
    return { position: written === undefined ? start : positionIn(written, field), path: `${name}: ${fieldText(field)}`, message: why };
  });
  const more = refused.length - mostTold;
  return formatProblems([
    ...told,
    ...(more > 0 ? [{ position: start, path: '', message: `${more} more services are refused` }] : []),
  ]).split('\n');
}

/** For a log that does not repeat itself. */
export const toldOnce = (log: Pick<Logger, 'error'>): ((thrown: unknown, message: string) => void) => {
  let before = '';
  return (thrown, message) => {
    const why = reasonOf(thrown);
    if (why !== before) log.error({ why }, message);
    before = why;
  };
};

import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { openServiceFolder } from '../description/folder.ts';
import { fieldText } from '../description/parts.ts';
import type { Reading } from '../description/read.ts';
import type { RefusedService, Service } from '../model.ts';

/** The source `files`: a folder of descriptions, followed. */
export interface FolderSource {
  /** Looks whether it changed, and applies what it says. */
  look(): Promise<void>;
  /** What it says that can not be, with its place; of now. */
  problems(): readonly string[];
}

/** Less than the time between two looks. */
const quietMs = 250;

/** A reader mends the first ones first. */
const mostTold = 1000;

/**
 * A file that can not be read as a whole takes nothing away: while there is any problem, services that the folder had and that were not read now
 * stay as they are.
 */
export function openFolderSource(
  folder: string,
  apply: (services: readonly Service[], whole: boolean) => readonly RefusedService[],
  log: Pick<Logger, 'error' | 'info'>,
): FolderSource {
  const files = openServiceFolder(folder, { quietMs });
  let problems: readonly string[] = [];
  let again: Reading | undefined;
  return {
    problems: () => problems,
    async look() {
      const reading = (await files.changed()) ?? again;
      if (reading === undefined) return;
      again = reading;
      const { formatProblems } = await import('../../../base/schema/index.ts');
      const refused = apply(
        reading.described.map(({ service }) => service),
        reading.problems.length === 0,
      );
      again = undefined;
      const describedOf = new Map(refused.length === 0 ? [] : reading.described.map((each) => [each.service.name, each]));
      const told = [
        ...reading.problems,
        ...refused.slice(0, mostTold).map(({ name, field, why }) => {
          const position = describedOf.get(name)?.positionOf(field) ?? { file: folder, line: 1, column: 1 };
          return { position, path: `${name}: ${fieldText(field)}`, message: why };
        }),
      ];
      if (refused.length > mostTold)
        told.push({
          position: { file: folder, line: 1, column: 1 },
          path: '',
          message: `${refused.length - mostTold} more services are refused`,
        });
      problems = told.length === 0 ? [] : formatProblems(told).split('\n');
      for (const problem of problems) log.error({ problem }, 'a service of the files is refused; the others stand');
      log.info({ folder, services: reading.described.length, refused: refused.length }, 'the files of services were read');
    },
  };
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

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { settleActs } from './settle.ts';
import type { Unsettled } from './settle.ts';

/**
 * Removes what stands in `folder` under an id that is not known any more; names that are no ids stay.
 * @returns what could not be removed, and why
 */
export async function sweepFolder(
  folder: string,
  known: ReadonlySet<string>,
  remove: (id: string) => Promise<void>,
): Promise<readonly Unsettled[]> {
  const names = await readdir(folder);
  const left = names.filter((name) => /^[0-9a-f]{64}$/.test(name) && !known.has(name));
  return settleActs(left.map((id) => ({ on: join(folder, id), act: () => remove(id) })));
}

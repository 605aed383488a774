import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { settleActs } from './settle.ts';
import type { Unsettled } from './settle.ts';

/**
 * Removes each entry of `folder` whose name is an unknown id. Names that are not ids stay.
 * @returns the entries that could not be removed, and why
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

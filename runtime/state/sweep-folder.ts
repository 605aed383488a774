import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { settleActs } from './settle.ts';
import type { Unsettled } from './settle.ts';

/** The beginnings of ids, as conmon names the links to its sockets. */
export const shortId = /^[0-9a-f]{16}$/;

/**
 * Removes each entry of `folder` whose name is an unknown id. Names that are not ids stay.
 * @param id the form of the names
 * @returns the entries that could not be removed, and why
 */
export async function sweepFolder(
  folder: string,
  known: ReadonlySet<string>,
  remove: (id: string) => Promise<void>,
  id = /^[0-9a-f]{64}$/,
): Promise<readonly Unsettled[]> {
  const names = await readdir(folder);
  const left = names.filter((name) => id.test(name) && !known.has(name));
  return settleActs(left.map((name) => ({ on: join(folder, name), act: () => remove(name) })));
}

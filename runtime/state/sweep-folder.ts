import { readdir } from 'node:fs/promises';

/** Removes what stands in `folder` under an id that is not known any more; names that are no ids stay. */
export async function sweepFolder(folder: string, known: ReadonlySet<string>, remove: (id: string) => Promise<void>): Promise<void> {
  const names = await readdir(folder);
  await Promise.all(names.filter((name) => /^[0-9a-f]{64}$/.test(name) && !known.has(name)).map((name) => remove(name)));
}

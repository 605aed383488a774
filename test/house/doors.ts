import { readFileSync } from 'node:fs';

/**
 * Returns the entry points of the rooms (`doors.json`): the files by which other rooms enter them.
 * `.dependency-cruiser.cjs` reads the same list. Each folder of base has one, too, its index.ts; those are
 * not listed.
 */
export const readDoors = (): readonly string[] =>
  JSON.parse(readFileSync(new URL('doors.json', import.meta.url), 'utf8')) as string[];

import { readFileSync } from 'node:fs';

/**
 * Returns the entry points of the modules (`entry-points.json`): the files by which other modules enter them.
 * `.dependency-cruiser.cjs` reads the same list. Each folder of base has one, too, its index.ts; those are
 * not listed.
 */
export const readEntryPoints = (): readonly string[] =>
  JSON.parse(readFileSync(new URL('entry-points.json', import.meta.url), 'utf8')) as string[];

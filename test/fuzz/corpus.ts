import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FuzzTarget } from './targets/target.ts';

const folderOf = (target: string): string => join(import.meta.dirname, 'corpus', target);

/** Returns the target's own seeds, then the inputs of its folder in the order of their names. */
export async function corpusOf(target: FuzzTarget): Promise<Buffer[]> {
  const seeds = (await target.seeds()).map((seed) => Buffer.from(seed as Uint8Array));
  const folder = folderOf(target.name);
  return [...seeds, ...(existsSync(folder) ? inputsIn(folder) : [])];
}

/** Returns the files of a folder in the order of their names. */
export function inputsIn(folder: string): Buffer[] {
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name)));
}

/** Writes an input into the target's folder, named by its digest. */
export function keepInCorpus(target: string, input: Uint8Array): string {
  const folder = folderOf(target);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, createHash('sha256').update(input).digest('hex').slice(0, 16));
  writeFileSync(file, input);
  return file;
}

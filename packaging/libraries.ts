import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** An entry point of the package: `import … from 'portcullis/NAME'`. */
export interface Library {
  readonly name: string;
  /** The entry point in the sources, relative to the checkout. */
  readonly source: string;
  /** Its file in `dist/`, without `.js`. All libraries are in one folder with the chunks and the Workers. */
  readonly out: string;
}

type Exports = Readonly<Record<string, { readonly types: string; readonly default: string }>>;

/** Returns the libraries that package.json exports. */
export function readLibraries(): Library[] {
  const file = join(import.meta.dirname, '../package.json');
  const { exports } = JSON.parse(readFileSync(file, 'utf8')) as { exports: Exports };
  return Object.entries(exports).map(([path, target]) => ({
    name: path.replace(/^\.\//u, ''),
    source: target.types.replace(/^\.\/dist\/types\/(.*)\.d\.ts$/u, '$1.ts'),
    out: target.default.replace(/^\.\/dist\/(.*)\.js$/u, '$1'),
  }));
}

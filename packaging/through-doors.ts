/**
 * Lets the bundle import from the files behind a door (`index.ts`) what the sources import from the door.
 * esbuild loads every file that a door names with each program that uses one of them, so that a command would
 * load the whole network engine for one call of the daemon (docs/decisions/0139).
 */
import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Plugin } from 'esbuild';

/** A file, and the name by which it exports something. */
type Place = readonly [file: string, name: string];

const exportOf = /^export \{([^}]*)\} from '([^']+)';/gmu;
const importOf = /^(import|export) \{([^}]*)\} from '(\.[^']*\/index\.ts)';/gmu;
const laterImportOf = /\bconst \{([^}:]*)\} = await import\('(\.[^']*\/index\.ts)'\)/gu;

/** Returns the pairs of names in `a, b as c, type D`, without types. */
function namesIn(list: string): (readonly [inner: string, outer: string])[] {
  return list
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '' && !one.startsWith('type '))
    .map((one) => {
      const [inner = '', outer = inner] = one.split(/\s+as\s+/u);
      return [inner, outer];
    });
}

/** Returns the places of what a door exports from files of the project, by the door's names. */
function readDoor(file: string): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  for (const [, list = '', from = ''] of readFileSync(file, 'utf8').matchAll(exportOf))
    if (from.startsWith('.'))
      for (const [inner, outer] of namesIn(list)) places.set(outer, [join(dirname(file), from), inner]);
  return places;
}

/**
 * Returns a source with its imports through doors replaced, on the same lines.
 * @param path the absolute path of the source
 * @param doors the doors that were read, by their paths
 */
export function withoutDoors(
  path: string,
  source: string,
  doors: Map<string, ReadonlyMap<string, Place>>,
): string {
  /** Follows a name through doors to the file that defines it, or to what cannot be followed. */
  const placeOf = (file: string, name: string): Place => {
    if (basename(file) !== 'index.ts') return [file, name];
    const door = doors.get(file) ?? readDoor(file);
    doors.set(file, door);
    const place = door.get(name);
    return place === undefined ? [file, name] : placeOf(...place);
  };
  /** Returns the imported names by the files that define them, with `as` between two names of one thing. */
  const byFiles = (list: string, from: string, as: string): ReadonlyMap<string, readonly string[]> => {
    const byFile = new Map<string, string[]>();
    for (const [inner, outer] of namesIn(list)) {
      const [file, name] = placeOf(join(dirname(path), from), inner);
      byFile.set(file, [...(byFile.get(file) ?? []), name === outer ? name : `${name}${as}${outer}`]);
    }
    return byFile;
  };
  const linesOf = (statement: string): string => '\n'.repeat(statement.split('\n').length - 1);
  return source
    .replace(importOf, (statement, word: string, list: string, from: string) => {
      const statements = [...byFiles(list, from, ' as ')].map(
        ([file, names]) => `${word} { ${names.join(', ')} } from '${file}';`,
      );
      return statements.join(' ') + linesOf(statement);
    })
    .replace(laterImportOf, (statement, list: string, from: string) => {
      const imports = [...byFiles(list, from, ': ')].map(
        ([file, names]) => `{ ${names.join(', ')} } = await import('${file}')`,
      );
      return `const ${imports.join(', ')}${linesOf(statement)}`;
    });
}

/** Replaces imports through doors in every source of the project. */
export const throughDoors: Plugin = {
  name: 'through-doors',
  setup({ onLoad }) {
    const doors = new Map<string, ReadonlyMap<string, Place>>();
    onLoad({ filter: /\.ts$/, namespace: 'file' }, ({ path }) =>
      path.includes('/node_modules/')
        ? undefined
        : { contents: withoutDoors(path, readFileSync(path, 'utf8'), doors), loader: 'ts' },
    );
  },
};

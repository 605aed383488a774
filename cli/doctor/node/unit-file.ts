import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { attempt } from '../../../base/errors/index.ts';

/** Folders of units, highest precedence first (systemd.unit(5), table 1). */
const folders = [
  'etc/systemd/system',
  'run/systemd/system',
  'usr/local/lib/systemd/system',
  'usr/lib/systemd/system',
  'lib/systemd/system',
];

/** A unit as systemd merges it from its file and its drop-ins. */
export interface Unit {
  readonly files: readonly string[];
  /** Values in force by `Section.Directive`, in order. */
  readonly directives: ReadonlyMap<string, readonly string[]>;
  /** Whether another unit wants it at boot. */
  readonly enabled: boolean;
}

/** @param root the root of the file system, `/` */
export function readUnit(name: string, root: string): Unit | undefined {
  const places = folders.map((folder) => join(root, folder));
  const file = places.map((place) => join(place, name)).find((path) => existsSync(path));
  if (file === undefined) return undefined;
  const files = [file, ...dropIns(places, `${name}.d`)];
  const enabled = places.some((place) =>
    entries(place).some(
      (entry) => /\.(wants|requires)$/.test(entry) && entries(join(place, entry)).includes(name),
    ),
  );
  return { files, directives: readDirectives(files.map((path) => readFileSync(path, 'utf8'))), enabled };
}

/**
 * Parses the directives of unit files in order (systemd.syntax(7)). A line that ends with `\` continues on
 * the next line. An empty value clears the earlier values.
 */
export function readDirectives(texts: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const text of texts) {
    let section = '';
    for (const line of text.replaceAll(/[ \t]*\\\n\s*/g, ' ').split('\n')) {
      const heading = /^\[(.+)\]\s*$/.exec(line)?.[1];
      section = heading ?? section;
      const [, key, value] = /^([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
      if (key === undefined || value === undefined) continue;
      const name = `${section}.${key}`;
      found.set(name, value === '' ? [] : [...(found.get(name) ?? []), value]);
    }
  }
  return found;
}

/**
 * Lists drop-ins in order of their names, whatever their folder. When two have the same name, the one with
 * the higher precedence counts.
 */
function dropIns(places: readonly string[], folder: string): string[] {
  const byName = new Map<string, string>();
  for (const place of places.toReversed())
    for (const name of entries(join(place, folder)))
      if (name.endsWith('.conf')) byName.set(name, join(place, folder, name));
  return [...byName.keys()].sort().map((name) => byName.get(name) ?? '');
}

function entries(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? [];
}

/**
 * Exits with 0 when node_modules holds exactly what package-lock.json requires for this platform, with 1 when
 * not. npm writes node_modules/.package-lock.json last, when everything is in place, so an interrupted
 * install has none.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface LockedPackage {
  readonly version?: string;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optional?: boolean;
}

function packagesOf(file: string): Record<string, LockedPackage> {
  const { '': _root, ...packages } = (
    JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, LockedPackage> }
  ).packages;
  return packages;
}

function meantForHere(entry: LockedPackage): boolean {
  const allows = (list: readonly string[] | undefined, value: string): boolean =>
    list === undefined || list.includes(value);
  return allows(entry.os, process.platform) && allows(entry.cpu, process.arch) && allows(entry.libc, 'glibc');
}

function treeStands(root: string): boolean {
  const wanted = packagesOf(join(root, 'package-lock.json'));
  const there = packagesOf(join(root, 'node_modules/.package-lock.json'));
  return Object.entries(wanted).every(
    ([path, entry]) =>
      there[path]?.version === entry.version || (entry.optional === true && !meantForHere(entry)),
  );
}

try {
  process.exitCode = treeStands(process.argv[2] ?? '.') ? 0 : 1;
} catch {
  process.exitCode = 1;
}

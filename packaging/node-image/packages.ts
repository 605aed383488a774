import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PackageFile } from '../archives/files.ts';
import { filesOf } from '../oci/base-layer.ts';
import { contentOf, fetchLockedDebs, newestDebs } from '../oci/debian-packages.ts';
import type { LockedDeb } from '../oci/debian-packages.ts';
import type { ReadRecipe, Recipe } from './recipe.ts';

/** An image is for one architecture. */
const architecture = 'amd64';

/** Programs that run during the build, from recorded packages: the image does not depend on the machine. */
const tools = [
  ...['erofs-utils', 'kmod', 'mtools'],
  // The libraries that they are linked with, except libc.
  ...['liblz4-1', 'liblzma5', 'libpcre2-8-0', 'libselinux1', 'libssl3', 'libuuid1', 'libzstd1'],
];
/** Programs whose file has another name. */
const files: Readonly<Record<string, string>> = { depmod: 'kmod' };
/** Packages that the boot needs in each image. */
export const bootPackages = {
  loader: 'systemd-boot-efi',
  initial: [
    'busybox-static',
    'dmsetup',
    'libc6',
    'libdevmapper1.02.1',
    'libpcre2-8-0',
    'libselinux1',
    'libudev1',
  ],
} as const;

/** Versions and digests of all packages of an image. */
export interface ImageLock {
  readonly suite: string;
  readonly packages: readonly LockedDeb[];
}

/** Returns the file beside a recipe that records its packages: `node.yaml` has `node.lock.json`. */
export function lockFileOf({ file }: ReadRecipe): string {
  return file.replace(/\.ya?ml$/u, '') + '.lock.json';
}

/** Returns the names of all packages that a recipe needs, sorted. */
export function packageNames({ kernel, packages }: Recipe): readonly string[] {
  const names = [kernel.package, ...packages, ...tools, bootPackages.loader, ...bootPackages.initial];
  return [...new Set(names)].sort();
}

/** Records the newest version of each package that Debian serves. @throws Error if apt fails */
export function writeLock(read: ReadRecipe): void {
  const { suite } = read.recipe;
  const packages = newestDebs(suite, architecture, packageNames(read.recipe));
  writeFileSync(lockFileOf(read), `${JSON.stringify({ suite, packages } satisfies ImageLock, null, 2)}\n`);
}

/** The .deb of each package, by its name. */
export type Debs = ReadonlyMap<string, string>;

/**
 * Fetches the recorded packages, and compares their digests.
 * @throws Error if a package is not recorded, or differs from what is recorded
 */
export function fetchPackages(read: ReadRecipe): Debs {
  const file = lockFileOf(read);
  const { suite, packages } = existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as ImageLock)
    : { suite: '', packages: [] };
  const names = packageNames(read.recipe);
  const missing = names.filter((name) => !packages.some((deb) => deb.name === name));
  if (missing.length > 0 || suite !== read.recipe.suite)
    throw new Error(
      `${file} does not record ${missing.join(', ') || `packages of ${read.recipe.suite}`}: run \`npm run node-image -- lock -f ${read.file}\``,
    );
  const wanted = packages.filter(({ name }) => names.includes(name));
  return new Map(fetchLockedDebs(suite, architecture, wanted).map(({ deb, file: path }) => [deb.name, path]));
}

/** Returns files of a package. @throws Error if there is no such package */
export async function packageFiles(
  debs: Debs,
  name: string,
  isWanted: (path: string) => boolean,
): Promise<readonly PackageFile[]> {
  const deb = debs.get(name);
  if (deb === undefined) throw new Error(`the package ${name} was not fetched`);
  return filesOf(contentOf(deb), isWanted);
}

/** Returns the one file of a package whose path matches. @throws Error if there is none, or more than one */
export async function onlyFile(debs: Debs, name: string, pattern: RegExp): Promise<Buffer> {
  const found = await packageFiles(debs, name, (path) => pattern.test(path));
  const [file] = found;
  if (file === undefined || found.length > 1 || 'target' in file.content)
    throw new Error(`the package ${name} has ${found.length} files ${pattern.source}, not one`);
  return Buffer.from(file.content.bytes);
}

/** Runs a program of the recorded packages. */
export type RunTool = (program: string, words: readonly string[]) => void;

/**
 * Unpacks the programs of the build into a folder.
 * @param time of everything that the programs write, in seconds since 1970
 */
export function unpackTools(debs: Debs, folder: string, time: number): RunTool {
  mkdirSync(folder);
  for (const name of tools) {
    const { status, stderr } = spawnSync('dpkg-deb', ['--extract', debs.get(name) ?? '', folder], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`dpkg-deb cannot unpack ${name}: ${stderr}`);
  }
  const libraries = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu'].map((path) => join(folder, path));
  const env = {
    LC_ALL: 'C',
    TZ: 'UTC',
    SOURCE_DATE_EPOCH: String(time),
    LD_LIBRARY_PATH: libraries.join(':'),
    // mtools reads no configuration of the machine.
    MTOOLSRC: '/dev/null',
    MTOOLS_SKIP_CHECK: '1',
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  };
  return (program, words) => {
    const path = ['usr/bin', 'usr/sbin', 'bin', 'sbin']
      .map((at) => join(folder, at, files[program] ?? program))
      .find((one) => existsSync(one));
    if (path === undefined) throw new Error(`the recorded packages have no program ${program}`);
    const { status, stderr, error } = spawnSync(path, words, { encoding: 'utf8', env, argv0: program });
    if (status !== 0) throw new Error(`${program} failed: ${error?.message ?? stderr.trim()}`);
  };
}

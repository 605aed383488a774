import { chmodSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { basename } from 'node:path/posix';
import { textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import { cpioOf } from './cpio.ts';
import { bootPackages, packageFiles } from './packages.ts';
import type { Debs, RunTool } from './packages.ts';
import { loadOrder } from './modules.ts';
import type { Recipe } from './recipe.ts';

/** The programs that open the root, and the libraries that they load. */
const programs =
  /^usr\/(?:bin\/busybox|sbin\/dmsetup|lib64\/ld-linux-x86-64\.so\.2|lib\/x86_64-linux-gnu\/(?:ld-linux-x86-64\.so\.2|lib(?:c|m|devmapper|pcre2-8|selinux|udev)\.so\.[0-9.]+))$/u;

/** Modules that every image needs to open its root. */
const rootModules = ['dm-verity', 'erofs'];

/**
 * Returns the modules of the initial file system in the order in which they are loaded. Also writes the list
 * of dependencies into the root, where modprobe(8) reads it: the package of the kernel has none.
 * @param root the tree of the root
 */
export function initialModules(root: string, kernel: Recipe['kernel'], run: RunTool): readonly PackageFile[] {
  const folder = join(root, 'usr/lib/modules');
  const release = readdirSync(folder).find((name) => /^[0-9]/u.test(name)) ?? '';
  run('depmod', ['--basedir', root, release]);
  // depmod(8) writes its files with the umask of this process.
  for (const name of readdirSync(join(folder, release)).filter((one) => one.startsWith('modules.')))
    chmodSync(join(folder, release, name), 0o644);
  const textOf = (name: string): string => readFileSync(join(folder, release, name), 'utf8');
  const names = [...kernel.initialModules, ...rootModules];
  return loadOrder(names, textOf('modules.dep'), textOf('modules.builtin')).map((path) => ({
    path,
    content: { bytes: readFileSync(join(folder, release, path)), executable: false },
  }));
}

/**
 * Returns the initial file system: busybox, dmsetup, modules, and the script that opens the root.
 * @param modules the files to load, in their order, and their contents
 */
export async function initialFileSystem(debs: Debs, modules: readonly PackageFile[]): Promise<Buffer> {
  const files: PackageFile[] = [];
  for (const name of bootPackages.initial)
    files.push(...(await packageFiles(debs, name, (path) => programs.test(path))));
  const placed = files.map((file) => ({ ...file, path: file.path.replace(/^usr\/(?:s?bin)\//u, 'bin/') }));
  const links = ['lib', 'lib64'].map((name) => ({ path: name, content: { target: `usr/${name}` } }));
  const all = [
    ...placed,
    ...links,
    ...modules.map(({ path, content }) => ({ path: `modules/${basename(path)}`, content })),
    textFile('modules/order', modules.map(({ path }) => `${basename(path)}\n`).join('')),
    textFile('init', readFileSync(join(import.meta.dirname, 'scripts/initial'), 'utf8'), true),
  ];
  return cpioOf(all, ['dev', 'proc', 'root', 'sys']);
}

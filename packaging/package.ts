/**
 * `npm run package`: builds, and packs dist/portcullis-VERSION.tgz. Its only dependencies are the native part
 * of koffi and the pinned Node, for each platform. None of them has an install script.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Metafile } from 'esbuild';
import { bundle, declarations } from './build.ts';
import { readLibraries } from './libraries.ts';
import { withoutMissingLinks } from './links.ts';
import { bundledPackages, notices } from './notices.ts';
import { packagesOfTypes } from './type-packages.ts';
import { isWholeProgram } from './whole-programs.ts';

const root = join(import.meta.dirname, '..');
const shipped = [
  ...[
    'packaging/bin',
    'packaging/ci',
    'packaging/prepare',
    'packaging/debian-packages',
    'packaging/kubernetes',
    'packaging/policies',
    'packaging/systemd',
  ],
  ...['docs', 'README.md', 'SECURITY.md', 'LICENSE'],
];

/** Platforms of the pinned Node, in the words of npm. */
const platforms = ['linux-x64', 'linux-arm64'];

/**
 * Versions of Node that run the commands that do not need the kernel (packaging/bin/portcullis checks them
 * too).
 */
const enginesWithoutPinned = '^22.19.0 || >=24.0.0';

/**
 * Returns the manifest of the published package. Bundled packages are no longer dependencies. Only the native
 * part of koffi is outside the bundle, and the package koffi itself has an install script, which npm would
 * ask the user to approve.
 */
function publishedManifest(): string {
  const read = (file: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(root, file), 'utf8')) as Record<string, unknown>;
  const {
    scripts: _scripts,
    devDependencies: _devDependencies,
    dependencies: _dependencies,
    private: _private,
    engines: _engines,
    ...kept
  } = read('package.json');
  const { version } = read('node_modules/koffi/package.json');
  const native = Object.fromEntries(platforms.map((platform) => [`@koromix/koffi-${platform}`, version]));
  const optionalDependencies = { ...(kept['optionalDependencies'] as Record<string, string>), ...native };
  const needs = { engines: { node: enginesWithoutPinned }, os: ['linux', 'darwin'] };
  return `${JSON.stringify({ ...kept, ...needs, optionalDependencies }, null, 2)}\n`;
}

export interface LayoutOptions {
  readonly types: boolean;
  /** Whether it contains the whole programs of the daemon: npm's package is small instead. */
  readonly isWhole: boolean;
  /** A bundle of the same sources, with whole programs. Without it, one is built. */
  readonly built?: BuiltBundle | undefined;
}

export interface BuiltBundle {
  readonly folder: string;
  readonly metafile: Metafile;
}

/** Copies a bundle, with or without its whole programs. */
function copyBundle({ folder, metafile }: BuiltBundle, to: string, isWhole: boolean): Metafile {
  const isCopied = (path: string): boolean => isWhole || !isWholeProgram(relative(folder, path));
  cpSync(folder, to, { recursive: true, filter: isCopied });
  return metafile;
}

/** Documents that explain the sources, which the package does not contain, and screenshots. */
const leftOut = [
  ...['docs/decisions', 'docs/performance-history.md', 'docs/test-suites.md'],
  ...['docs/images/console-verdicts-light.png', 'docs/images/console-verdict-dark.png'],
];

/** A program that uses a library compiles with the types of this package alone. */
function refuseForeignTypes(folder: string): void {
  const entries = readLibraries().map(({ source }) => source.replace(/\.ts$/u, '.d.ts'));
  const found = packagesOfTypes(folder, entries);
  if (found.length > 0)
    throw new Error(`types of the libraries need packages that are not installed: ${found.join(', ')}`);
}

/**
 * Lays out the package in `folder` as it is installed, without its dependencies. Returns what esbuild put
 * into each file of the bundle. Throws if a bundled package has no licence text.
 */
export async function layOut(folder: string, options: LayoutOptions): Promise<Metafile> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const dist = join(folder, 'dist');
  const metafile =
    options.built === undefined
      ? await bundle(dist, options.isWhole)
      : copyBundle(options.built, dist, options.isWhole);
  if (options.types) {
    declarations(dist);
    refuseForeignTypes(join(dist, 'types'));
  }
  for (const path of shipped)
    cpSync(join(root, path), join(folder, path), {
      recursive: true,
      // npm packs no links.
      dereference: true,
      filter: (file) => !file.endsWith('.test.ts') && !leftOut.some((path) => file.endsWith(path)),
    });
  writeFileSync(join(folder, 'THIRD-PARTY-NOTICES'), notices(bundledPackages(metafile)));
  writeFileSync(join(folder, 'package.json'), publishedManifest());
  for (const file of globSync(['*.md', 'docs/**/*.md'], { cwd: folder })) {
    const text = readFileSync(join(folder, file), 'utf8');
    writeFileSync(
      join(folder, file),
      withoutMissingLinks(file, text, (path) => existsSync(join(folder, path))),
    );
  }
  return metafile;
}

/** Packs a laid out package into `destination`. Returns the name of the file. Throws if npm fails. */
export function pack(folder: string, destination: string): string {
  const run = spawnSync('npm', ['pack', '--silent', '--pack-destination', destination], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (run.status !== 0)
    throw new Error(
      `npm pack failed${run.error === undefined ? '; see what it says above' : `: ${run.error.message}`}`,
    );
  return run.stdout.trim();
}

if (import.meta.main) {
  const folder = join(root, 'dist/package');
  await layOut(folder, { types: true, isWhole: false });
  const file = pack(folder, join(root, 'dist'));
  rmSync(folder, { recursive: true });
  process.stdout.write(`dist/${file} packed\n`);
}

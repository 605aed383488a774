/**
 * `npm run build`: builds dist/ with one ES module each for the command, the daemon, every library that
 * package.json exports and every Worker. Shared code is in chunks next to them, and declarations are in
 * dist/types. Native code stays outside: base/process loads it, when it is first called, from its package
 * for the platform.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import type { BuildOptions, Metafile } from 'esbuild';
import { buildConsole } from './console.ts';
import { readLibraries } from './libraries.ts';
import { throughDoors } from './through-doors.ts';
import { generatedValidators, writeValidators } from './validators.ts';

const root = join(import.meta.dirname, '..');

const entries = {
  portcullis: 'cli/main.ts',
  'cni-plugin': 'cni-plugins/bin/cni-plugin.ts',
};

/** CommonJS packages call `require` for Node's own modules. */
const banner =
  "import { createRequire as __createRequire } from 'node:module';\nconst require = __createRequire(import.meta.url);";

/** Returns the sources of all Workers, relative to the checkout. */
export function workerSources(): string[] {
  return globSync('{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node}/**/*.worker.ts', {
    cwd: root,
  }).sort();
}

function optionsFor(outdir: string, workers: readonly string[]): BuildOptions & { metafile: true } {
  return {
    absWorkingDir: root,
    entryPoints: [
      ...Object.entries(entries).map(([out, source]) => ({ out, in: source })),
      ...readLibraries().map(({ out, source }) => ({ out, in: source })),
      ...workers.map((source) => ({ out: basename(source, '.ts'), in: source })),
    ],
    outdir,
    bundle: true,
    splitting: true,
    chunkNames: 'chunk-[hash]',
    format: 'esm',
    platform: 'node',
    // The oldest Node that may run it (package.ts).
    target: 'node22.19',
    banner: { js: banner },
    loader: { '.json': 'json' },
    // V8 keeps the text of the code that it runs.
    minifyWhitespace: true,
    minifySyntax: true,
    plugins: [generatedValidators, throughDoors],
    legalComments: 'linked',
    metafile: true,
    logLevel: 'warning',
  };
}

/**
 * Returns the file that Node starts as the Worker `name`. It imports the Worker's module dynamically. V8 ends
 * the whole process if a Worker is terminated between the end of a module with a top-level await and the
 * evaluation of a module that imports it statically (nodejs/node#62114).
 */
export const workerEntry = (name: string): string => `void import('../${name}.js');\n`;

/** Returns what {@link bundle} would write, and writes nothing. */
export async function describeBundle(): Promise<Metafile> {
  const { metafile } = await build({ ...optionsFor('dist', workerSources()), write: false });
  return metafile;
}

/**
 * Bundles into `folder`, which is replaced as a whole. Returns what esbuild put into each file of it. Throws
 * esbuild's error when a source does not build.
 */
export async function bundle(folder: string): Promise<Metafile> {
  // A command that runs from the old bundle may still load its chunks while this one is built.
  const outdir = `${folder}.new`;
  const workers = workerSources();
  rmSync(outdir, { recursive: true, force: true });
  const { metafile } = await build(optionsFor(outdir, workers));
  const consoleFiles = await buildConsole(join(outdir, 'console'));
  const validators = await writeValidators(outdir);
  // Chunks and Workers are in one folder, so that `./workers/NAME.js` resolves from each of them
  // (base/process/worker.ts).
  mkdirSync(join(outdir, 'workers'));
  for (const worker of workers) {
    const name = basename(worker, '.ts');
    writeFileSync(join(outdir, 'workers', `${name}.js`), workerEntry(name));
  }
  writeFileSync(
    join(outdir, 'portcullisd.js'),
    "process.argv.splice(2, 0, 'daemon');\nawait import('./portcullis.js');\n",
  );
  rmSync(folder, { recursive: true, force: true });
  renameSync(outdir, folder);
  return {
    inputs: { ...metafile.inputs, ...consoleFiles.inputs, ...validators.inputs },
    outputs: { ...metafile.outputs, ...consoleFiles.outputs, ...validators.outputs },
  };
}

/** Writes the declarations of the libraries into `outdir`/types. */
export function declarations(outdir: string): void {
  const tsc = join(root, 'node_modules/.bin/tsc');
  const run = spawnSync(
    process.execPath,
    [tsc, '--project', join(root, 'packaging/declarations.json'), '--outDir', join(outdir, 'types')],
    { stdio: 'inherit' },
  );
  if (run.status !== 0) throw new Error('the declarations do not build; see what tsc says above');
}

if (import.meta.main) {
  const started = performance.now();
  const outdir = join(root, 'dist');
  await bundle(outdir);
  if (!process.argv.includes('--bundle-only')) declarations(outdir);
  process.stdout.write(`dist/ built in ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
}

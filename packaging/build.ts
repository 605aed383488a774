/**
 * `npm run build`: builds dist/ with one ES module each for the command, every library that package.json
 * exports and every Worker. Shared code is in chunks next to them. The daemon and its Workers are also built
 * as whole programs, without chunks (docs/decisions/0140). Declarations are in dist/types. Native code stays
 * outside: base/process loads it, when it is first called, from its package for the platform.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import type { BuildOptions, Metafile, Plugin } from 'esbuild';
import { builtinModules } from './builtin-modules.ts';
import { buildConsole } from './console.ts';
import { readLibraries } from './libraries.ts';
import { throughDoors } from './through-doors.ts';
import { daemonAlone, isWholeWorker, wholeName, wholeWorkers } from './whole-programs.ts';
import { generatedValidators, writeValidators } from './validators.ts';

const root = join(import.meta.dirname, '..');

const command = 'cli/main.ts';
/** A runtime starts it for each pod and waits for it, so it is always one file. */
const plugin = { out: 'cni-plugin', in: 'cni-plugins/bin/cni-plugin.ts' };

/** CommonJS packages call `require` for Node's own modules. */
const banner = "const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);";

/** Returns the sources of all Workers, relative to the checkout. */
export function workerSources(): string[] {
  return globSync('{base,trust,entitlements,cni-plugins,fleet,admission,runtime,node}/**/*.worker.ts', {
    cwd: root,
  }).sort();
}

/** Common to the bundle and to whole programs. */
const commonOptions = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  platform: 'node',
  // The oldest Node that may run it (package.ts).
  target: 'node22.19',
  banner: { js: banner },
  loader: { '.json': 'json' },
  // V8 keeps the text of the code that it runs.
  minifyWhitespace: true,
  minifySyntax: true,
  // Node prints the line that threw an uncaught error.
  lineLimit: 400,
  legalComments: 'linked',
  metafile: true,
  logLevel: 'warning',
} as const satisfies BuildOptions;

function optionsFor(outdir: string, workers: readonly string[]): BuildOptions & { metafile: true } {
  return {
    ...commonOptions,
    entryPoints: [
      { out: 'portcullis', in: command },
      ...readLibraries().map(({ out, source }) => ({ out, in: source })),
      ...workers.map((source) => ({ out: basename(source, '.ts'), in: source })),
    ],
    outdir,
    splitting: true,
    chunkNames: 'chunk-[hash]',
    plugins: [generatedValidators, throughDoors],
  };
}

/**
 * Returns the file that Node starts as the Worker `name`. It imports the Worker's module dynamically. V8 ends
 * the whole process if a Worker is terminated between the end of a module with a top-level await and the
 * evaluation of a module that imports it statically (nodejs/node#62114).
 */
export const workerEntry = (name: string): string => `void import('../${name}.js');\n`;

/**
 * The package of npm contains no whole programs. The daemon may execute itself again (runtime/cgroups), and
 * then has its word already.
 */
const daemonEntry = `import { existsSync } from 'node:fs';
if (process.argv[2] !== 'daemon') process.argv.splice(2, 0, 'daemon');
const whole = new URL('./${wholeName('daemon')}.js', import.meta.url);
await import(existsSync(whole) ? whole.href : './portcullis.js');
`;

/** Builds programs of one file each into the folder of the bundle. */
async function buildAlone(
  outdir: string,
  entryPoints: readonly { readonly out: string; readonly in: string }[],
  more: readonly Plugin[] = [],
): Promise<Metafile> {
  const { metafile } = await build({
    ...commonOptions,
    entryPoints: [...entryPoints],
    outdir,
    plugins: [generatedValidators, throughDoors, builtinModules, ...more],
  });
  return metafile;
}

/** Builds the daemon and its Workers as whole programs. */
function buildWhole(outdir: string, workers: readonly string[]): Promise<Metafile> {
  mkdirSync(join(outdir, wholeWorkers));
  for (const worker of workers) {
    const name = basename(worker, '.ts');
    const file = isWholeWorker(worker) ? wholeName(name) : name;
    writeFileSync(join(outdir, wholeWorkers, `${name}.js`), workerEntry(file));
  }
  const programs = workers.filter(isWholeWorker).map((source) => {
    return { out: wholeName(basename(source, '.ts')), in: source };
  });
  return buildAlone(outdir, [{ out: wholeName('daemon'), in: command }, ...programs], [daemonAlone]);
}

/** Returns what {@link bundle} would write, and writes nothing. */
export async function describeBundle(): Promise<Metafile> {
  const { metafile } = await build({ ...optionsFor('dist', workerSources()), write: false });
  return metafile;
}

/**
 * Bundles into `folder`, which is replaced as a whole. Returns what esbuild put into each file of it. Throws
 * esbuild's error when a source does not build.
 * @param isWhole whether the daemon and its Workers are also built as whole programs. Without them, the
 *   daemon runs from the chunks.
 */
export async function bundle(folder: string, isWhole = true): Promise<Metafile> {
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
  const alone = [await buildAlone(outdir, [plugin]), ...(isWhole ? [await buildWhole(outdir, workers)] : [])];
  writeFileSync(join(outdir, 'portcullisd.js'), daemonEntry);
  // Node reads the nearest package.json once for each file that it loads, and that of the package is long.
  writeFileSync(join(outdir, 'package.json'), '{"type":"module"}\n');
  rmSync(folder, { recursive: true, force: true });
  renameSync(outdir, folder);
  const all = [metafile, ...alone, consoleFiles, validators];
  return {
    inputs: Object.assign({}, ...all.map(({ inputs }) => inputs)) as Metafile['inputs'],
    outputs: Object.assign({}, ...all.map(({ outputs }) => outputs)) as Metafile['outputs'],
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
  const { values } = parseArgs({
    options: { 'bundle-only': { type: 'boolean' }, metafile: { type: 'string' } },
  });
  const metafile = await bundle(outdir);
  if (values.metafile !== undefined) writeFileSync(values.metafile, JSON.stringify(metafile));
  if (values['bundle-only'] !== true) declarations(outdir);
  process.stdout.write(`dist/ built in ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
}

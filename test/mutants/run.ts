/**
 * `npm run test:mutants -- [--only WORDS] [--from N] [--list]`
 *
 * Removes each check of `mutants/` from a copy of the sources, one at a time, and runs the tests that cover
 * it. A mutant is killed when one of these tests fails. Before that, each of these tests must pass on the
 * unchanged copy, and the changed file must still be TypeScript: a test that always fails, or a file that
 * cannot be loaded, kills nothing. Two mutants run at a time, each in a separate copy. Prints one closing
 * line; exits 1 when a mutant survives or cannot be tried.
 */
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { transformSync } from 'esbuild';
import { mutants } from './list.ts';
import { mutated } from './mutant.ts';
import type { Mutant } from './mutant.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    /** Begins at the mutant with this number, from 1. */ from: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
});
const root = join(import.meta.dirname, '..', '..');
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const chosen = mutants
  .filter(({ file, removes }) => `${file} ${removes}`.includes(values.only ?? ''))
  .slice(Number(values.from ?? 1) - 1);
const lanes = 2;
/**
 * Tests of a mutant that hang are ended and count as failed: after the least time in ms, or after this
 * multiple of their time on the unchanged copy if that is longer.
 */
const patience = { least: 30_000, times: 3 };
const mostPatience = 300_000;

if (values.list) for (const { file, removes } of chosen) say(`${file}: ${removes}`);
else await tryAll();

/** The result of a mutant's tests on the unchanged copy: whether they pass, and how long they take, in ms. */
interface Sound {
  readonly passed: boolean;
  readonly took: number;
}

async function tryAll(): Promise<void> {
  let [killed, alive, untried] = [0, 0, 0];
  const waiting = [...chosen];
  const sound = new Map<string, Promise<Sound>>();
  const lane = async (): Promise<void> => {
    const copy = mkdtempSync(join(tmpdir(), 'portcullis-mutants-'));
    try {
      for (const name of readdirSync(root)) {
        if (['.git', 'node_modules', 'dist', 'coverage'].includes(name)) continue;
        cpSync(join(root, name), join(copy, name), { recursive: true });
      }
      symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
      for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
        const outcome = await tryOne(copy, mutant, sound);
        if (outcome === 'killed') killed++;
        else if (outcome === 'alive') alive++;
        else untried++;
        say(`${outcome === 'killed' ? '✔' : '✖'} ${mutant.file}: ${mutant.removes}: ${outcome}`);
      }
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  say(`mutants: ${killed} killed, ${alive} alive, ${untried} could not be tried`);
  process.exitCode = alive + untried > 0 || killed === 0 ? 1 : 0;
}

async function tryOne(copy: string, mutant: Mutant, sound: Map<string, Promise<Sound>>): Promise<string> {
  const file = join(copy, mutant.file);
  if (!existsSync(file)) return 'the file does not exist';
  const original = readFileSync(file, 'utf8');
  let changed: string;
  try {
    changed = mutated(original, mutant);
    if (file.endsWith('.ts')) transformSync(changed, { loader: 'ts' });
  } catch (error) {
    return `it cannot be created: ${(error as Error).message.split('\n')[0] ?? ''}`;
  }
  const key = `${mutant.pattern ?? ''} ${mutant.tests.join(' ')}`;
  let unchanged = sound.get(key);
  if (unchanged === undefined) sound.set(key, (unchanged = timed(() => passes(copy, mutant, mostPatience))));
  const { passed, took } = await unchanged;
  if (!passed) return 'its tests fail, or run nothing, on the unchanged copy';
  writeFileSync(file, changed);
  try {
    return (await passes(copy, mutant, patience.least + patience.times * took)) ? 'alive' : 'killed';
  } finally {
    writeFileSync(file, original);
  }
}

async function timed(run: () => Promise<boolean>): Promise<Sound> {
  const started = performance.now();
  const passed = await run();
  return { passed, took: performance.now() - started };
}

/**
 * Returns whether the mutant's tests pass within `limitMs`, and at least one of them ran. They are ended at
 * the first failure.
 */
async function passes(copy: string, { tests, pattern }: Mutant, limitMs: number): Promise<boolean> {
  // Not with --test-force-exit: a file then ends before all its reports are read.
  const args = ['--test', '--test-reporter=tap'];
  if (pattern !== undefined) args.push(`--test-name-pattern=${pattern}`);
  const environment = { ...process.env };
  // The caller's `node --test` sets it; it would turn the run below into a part of the caller's run.
  delete environment['NODE_TEST_CONTEXT'];
  const child = spawn(process.execPath, [...args, ...tests], {
    cwd: copy,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: environment,
    detached: true,
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (/^\s*not ok /m.test(output)) endGroup(child.pid);
  });
  const limit = setTimeout(() => endGroup(child.pid), limitMs);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearTimeout(limit);
  return code === 0 && Number(/^# pass (\d+)$/m.exec(output)?.[1] ?? 0) > 0;
}

/** Each test file runs in a separate process: they are one process group. */
function endGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

/**
 * `npm run test:sim -- [--histories N] [--seed S] [--kind pods|images|services|attachments] [--lanes N]`, or
 * `-- --planted [--only WORDS]`
 *
 * Plays N histories from seed S on, in as many processes as lanes. A history that breaks an invariant is
 * shrunk and printed, and the exit status is 1. With `--planted`, puts each bug of `planted/` into the
 * product in turn; each must be found within N histories.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { LaneResult } from './lane.ts';
import { planted } from './planted/list.ts';

const { values } = parseArgs({
  options: {
    histories: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    kind: { type: 'string', default: '' },
    lanes: { type: 'string', default: String(Math.min(8, availableParallelism())) },
    planted: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
  },
});
const [histories, seed, lanes] = [values.histories, values.seed, values.lanes].map(Number) as [
  number,
  number,
  number,
];
const say = (text: string): void => void process.stdout.write(`${text}\n`);

interface Round {
  readonly results: readonly LaneResult[];
  /** The first finding; the other lanes are ended then. */
  readonly found: LaneResult | undefined;
}

/** Plays all histories, or until an invariant is broken. */
async function play(kind: string, bug: string): Promise<Round> {
  const file = fileURLToPath(new URL('./lane.ts', import.meta.url));
  const used = Math.max(1, Math.min(lanes, histories));
  const children = Array.from({ length: used }, (_, lane) => {
    // Lanes share the range from `seed` on: each begins at its own seed, and none goes beyond the end.
    const args = [file, seed + lane, histories - lane, used, kind, bug].map(String);
    return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  });
  const endAll = (): void => {
    for (const child of children) child.kill('SIGKILL');
    process.exit(1);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, endAll);
  const results: LaneResult[] = [];
  let found: LaneResult | undefined;
  await Promise.all(
    children.map(async (child) => {
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
      if (code === null && found !== undefined) return;
      if (code !== 0)
        throw new Error(`a lane of the simulation failed with ${code ?? 'a signal'}: see above`);
      const result = JSON.parse(output) as LaneResult;
      results.push(result);
      if (result.report === undefined || found !== undefined) return;
      found = result;
      for (const other of children) if (other !== child) other.kill('SIGKILL');
    }),
  );
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, endAll);
  return { results, found };
}

const sum = (results: readonly LaneResult[], of: 'histories' | 'steps' | 'crashes'): number =>
  results.reduce((total, result) => total + result[of], 0);

async function playAll(): Promise<void> {
  const begin = performance.now();
  const { results, found } = await play(values.kind, '');
  if (found?.report !== undefined) {
    say(found.report);
    process.exitCode = 1;
    return;
  }
  const seconds = ((performance.now() - begin) / 1_000).toFixed(1);
  const [played, steps, crashes] = (['histories', 'steps', 'crashes'] as const).map((of) => sum(results, of));
  say(
    `${played} histories, ${steps} steps, ${crashes} crashes, no invariant broken, ${seconds} s (seeds ${seed} to ${seed + histories - 1})`,
  );
}

async function findPlanted(): Promise<void> {
  let missed = 0;
  for (const [index, bug] of planted.entries()) {
    if (!`${bug.file} ${bug.says}`.includes(values.only)) continue;
    const begin = performance.now();
    const { found } = await play(bug.kind, String(index));
    const seconds = ((performance.now() - begin) / 1_000).toFixed(1);
    if (found === undefined) missed += 1;
    const outcome =
      found === undefined
        ? `not found in ${histories} histories`
        : `found by history ${(found.seed ?? 0) - seed + 1}`;
    say(`${found === undefined ? '✖' : '✔'} ${bug.says} (${bug.file}): ${outcome}, ${seconds} s`);
    if (found?.report !== undefined) say(found.report.replace(/^/gm, '    '));
  }
  say(missed === 0 ? 'every planted bug was found' : `${missed} planted bugs were not found`);
  process.exitCode = missed === 0 ? 0 : 1;
}

await (values.planted ? findPlanted() : playAll());

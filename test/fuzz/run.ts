/**
 * `npm run test:fuzz -- [--minutes N] [--seed S] [--group NAME] [--only NAME,NAME] [--keep]`
 *
 * Fuzzes the readers of untrusted input, guided by V8's block coverage, from the corpora in `corpus/`. A
 * finding is an error of the language itself (TypeError …), more than 1 s of processor time for up to 1 MiB
 * or more memory than ten times the input (unless the target allows more, and gives the reason), an answer
 * that changes when the same bytes are read again, or a reader that changes its input. `--keep` adds inputs
 * that ran new code to the corpora. Two targets run at a time and share the minutes evenly. Prints one
 * closing line; exits 1 when there is a finding, and leaves its input in a file.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runTarget } from './campaign.ts';
import { Children } from './children.ts';
import { keepInCorpus } from './corpus.ts';
import { targetNames } from './targets/index.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    group: { type: 'string' },
    only: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 0) || !Number.isSafeInteger(seed))
  throw new TypeError('--minutes requires a number above 0, and --seed a whole number');
const only = values.only?.split(',');
const names = (await targetNames(values.group)).filter((name) => only?.includes(name) ?? true);
if (names.length === 0) throw new TypeError('--group or --only does not match a target');

const lanes = Math.min(2, availableParallelism(), names.length);
const milliseconds = (minutes * 60_000 * lanes) / names.length;
/**
 * In a child that has read other targets, collecting the coverage takes longer. Only short runs save more
 * time by starting fewer children.
 */
const sharesChildren = milliseconds < 3_000;
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const waiting = [...names];
let [inputs, kept, found] = [0, 0, 0];
let folder: string | undefined;

async function lane(): Promise<void> {
  const children = new Children();
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const outcome = await runTarget(children, { target: name, seed, milliseconds, mode: 'fuzz' });
    if (!sharesChildren) await children.end();
    inputs += outcome.inputs;
    say(
      `${outcome.findings.length === 0 ? '✔' : '✖'} ${name}: ${outcome.inputs} inputs, ${outcome.blocks} blocks, corpus ${outcome.corpus}`,
    );
    for (const { kind, why, input } of outcome.findings) {
      folder ??= mkdtempSync(join(tmpdir(), 'portcullis-fuzz-'));
      const file = join(folder, `${name}-${String(++found)}`);
      writeFileSync(file, input);
      say(`  ${kind}: ${why}\n  input: ${file} (${input.length} bytes)`);
    }
    if (values.keep)
      for (const input of outcome.fresh)
        kept += input.length <= 8192 && keepInCorpus(name, input) !== '' ? 1 : 0;
  }
  await children.end();
}

await Promise.all(Array.from({ length: lanes }, lane));
if (values.keep) say(`${kept} inputs added to the corpora`);
say(`fuzz: ${names.length} targets, ${inputs} inputs, seed ${seed}, ${minutes} minutes: ${found} findings`);
process.exitCode = found > 0 ? 1 : 0;

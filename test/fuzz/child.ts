/** A child of `campaign.ts` that reads inputs of one target. Its only argument is a FuzzTask as JSON. */
import { readFileSync, readdirSync } from 'node:fs';
import { corpusOf, inputsIn } from './corpus.ts';
import { openCoverage } from './coverage.ts';
import { readOnce, usualLimits } from './judge.ts';
import type { Reading } from './judge.ts';
import { mutate } from './mutate.ts';
import { openProgress } from './protocol.ts';
import type { FuzzMessage, FuzzTask } from './protocol.ts';
import { createRandom } from './random.ts';
import { loadTarget } from './targets/index.ts';

const task = JSON.parse(process.argv[2] ?? '') as FuzzTask;
const post = (message: FuzzMessage): void => void process.send?.(message);
const progress = openProgress(task.progress);
const random = createRandom(task.seed);
/** Inputs between two coverage measurements, each of which costs about a millisecond. */
const batchSize = 64;
/**
 * Memory, garbage included, that any reading may use before a run with little memory has to show that it
 * needs less.
 */
const smallMemory = 24 * 1024 * 1024;
const target = await loadTarget(task.target);
const { slowMs, memoryFactor } = target.allows ?? usualLimits;
let inputs = 0;

async function read(input: Buffer): Promise<Reading> {
  progress.begin(input);
  inputs++;
  return readOnce(target, input);
}

/** Reads the input, and a second time if `twice` is set: both answers must be the same. */
async function judge(input: Buffer, twice: boolean): Promise<void> {
  const first = await read(input);
  const second = twice ? await read(input) : first;
  const flaw =
    first.flaw ??
    (second.answer === first.answer
      ? undefined
      : {
          kind: 'unstable' as const,
          why: `first ${first.answer.slice(0, 300)}, then ${second.answer.slice(0, 300)}`,
        });
  if (flaw !== undefined) post({ kind: 'finding', finding: { ...flaw, target: target.name, input } });
  if (second.cpuMs > slowMs) post({ kind: 'suspect', of: 'time', input });
  if (first.grownBytes > memoryFactor * input.length + smallMemory)
    post({ kind: 'suspect', of: 'memory', input });
}

async function fuzz(given: readonly Buffer[]): Promise<void> {
  const coverage = openCoverage();
  const corpus: Buffer[] = [];
  let blocks = 0;
  /** Reads inputs one by one and keeps those that ran code that no kept input ran. */
  const keepNew = async (some: readonly Buffer[], isGiven: boolean): Promise<void> => {
    for (const input of some) {
      coverage.take(false);
      await read(input);
      const found = coverage.take(true);
      blocks += found;
      if (found === 0) continue;
      corpus.push(input);
      if (!isGiven) post({ kind: 'new', input });
    }
  };
  await keepNew(given, true);
  if (corpus.length === 0) corpus.push(given[0] ?? Buffer.from('a'));
  const until = performance.now() + task.milliseconds;
  while (performance.now() < until) {
    const batch: Buffer[] = [];
    while (batch.length < batchSize && performance.now() < until) {
      const input = mutate(corpus, target.words ?? [], random);
      batch.push(input);
      await judge(input, random.once(4));
    }
    if (coverage.take(false) > 0) await keepNew(batch, false);
  }
  post({ kind: 'done', inputs, blocks, corpus: corpus.length });
}

/** An input is slow if it is slow each of three times: the first runs compile the code. */
async function check(input: Buffer): Promise<void> {
  const times: number[] = [];
  for (let time = 0; time < 3; time++) times.push((await read(input)).cpuMs);
  const least = Math.min(...times);
  if (least > slowMs) {
    const why = `${least.toFixed(0)} ms of processor time for ${input.length} bytes, three times`;
    post({ kind: 'finding', finding: { kind: 'slow', why, target: target.name, input } });
  }
}

if (task.mode === 'check') await check(readFileSync(task.input ?? ''));
else {
  const given = await corpusOf(target);
  const isFirst = task.found === undefined || readdirSync(task.found).length === 0;
  if (isFirst) for (const input of given) await judge(input, true);
  if (task.mode === 'fuzz') await fuzz([...given, ...(isFirst ? [] : inputsIn(task.found ?? ''))]);
  else post({ kind: 'done', inputs, blocks: 0, corpus: given.length });
}

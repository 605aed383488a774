/** A child of `children.ts`. Its messages are FuzzTasks, each of which it answers when the task is done. */
import { readFileSync } from 'node:fs';
import { corpusOf, inputsIn } from './corpus.ts';
import { openCoverage } from './coverage.ts';
import type { Coverage } from './coverage.ts';
import { readOnce, usualLimits } from './judge.ts';
import type { Reading } from './judge.ts';
import { mutate } from './mutate.ts';
import { openProgress } from './protocol.ts';
import type { FuzzDone, FuzzMessage, FuzzTask } from './protocol.ts';
import { createRandom } from './random.ts';
import { loadTarget } from './targets/index.ts';
import type { FuzzTarget } from './targets/target.ts';

const post = (message: FuzzMessage): void => void process.send?.(message);
/** Inputs between two coverage measurements, each of which costs about a millisecond. */
const batchSize = 64;
/**
 * Memory, garbage included, that any reading may use before a run with little memory has to show that it
 * needs less.
 */
const smallMemory = 24 * 1024 * 1024;
/** V8 does not record again functions that it compiled before a recording ended: one recording never ends. */
let coverage: Coverage | undefined;

/** One task on its target. */
class TaskRun {
  readonly #task: FuzzTask;
  readonly #target: FuzzTarget;
  readonly #progress: ReturnType<typeof openProgress>;
  #inputs = 0;

  constructor(task: FuzzTask, target: FuzzTarget) {
    this.#task = task;
    this.#target = target;
    this.#progress = openProgress(task.progress);
  }

  async run(): Promise<FuzzDone> {
    const { mode, input, found } = this.#task;
    let [blocks, corpus] = [0, 0];
    if (mode === 'check') await this.#check(readFileSync(input ?? ''));
    else {
      const given = await corpusOf(this.#target);
      const earlier = found === undefined ? [] : inputsIn(found);
      if (earlier.length === 0) for (const bytes of given) await this.#judge(bytes, true);
      if (mode === 'replay') corpus = given.length;
      else ({ blocks, corpus } = await this.#fuzz([...given, ...earlier]));
    }
    this.#progress.close();
    return { kind: 'done', inputs: this.#inputs, blocks, corpus };
  }

  async #read(input: Buffer): Promise<Reading> {
    this.#progress.begin(input);
    this.#inputs++;
    return readOnce(this.#target, input);
  }

  /** Reads the input, and a second time if `twice` is set: both answers must be the same. */
  async #judge(input: Buffer, twice: boolean): Promise<void> {
    const { slowMs, memoryFactor } = this.#target.allows ?? usualLimits;
    const first = await this.#read(input);
    const second = twice ? await this.#read(input) : first;
    const flaw =
      first.flaw ??
      (second.answer === first.answer
        ? undefined
        : {
            kind: 'unstable' as const,
            why: `first ${first.answer.slice(0, 300)}, then ${second.answer.slice(0, 300)}`,
          });
    if (flaw !== undefined) post({ kind: 'finding', finding: { ...flaw, target: this.#target.name, input } });
    if (second.cpuMs > slowMs) post({ kind: 'suspect', of: 'time', input });
    if (first.grownBytes > memoryFactor * input.length + smallMemory)
      post({ kind: 'suspect', of: 'memory', input });
  }

  async #fuzz(given: readonly Buffer[]): Promise<{ blocks: number; corpus: number }> {
    const { seed, milliseconds } = this.#task;
    const random = createRandom(seed);
    const ran = (coverage ??= openCoverage());
    ran.forget();
    const corpus: Buffer[] = [];
    let blocks = 0;
    /** Reads inputs one by one and keeps those that ran code that no kept input ran. */
    const keepNew = async (some: readonly Buffer[], isGiven: boolean): Promise<void> => {
      for (const input of some) {
        ran.take(false);
        await this.#read(input);
        const found = ran.take(true);
        blocks += found;
        if (found === 0) continue;
        corpus.push(input);
        if (!isGiven) post({ kind: 'new', input });
      }
    };
    await keepNew(given, true);
    if (corpus.length === 0) corpus.push(given[0] ?? Buffer.from('a'));
    const until = performance.now() + milliseconds;
    while (performance.now() < until) {
      const batch: Buffer[] = [];
      while (batch.length < batchSize && performance.now() < until) {
        const input = mutate(corpus, this.#target.words ?? [], random);
        batch.push(input);
        await this.#judge(input, random.once(4));
      }
      if (ran.take(false) > 0) await keepNew(batch, false);
    }
    return { blocks, corpus: corpus.length };
  }

  /** An input is slow if it is slow each of three times: the first runs compile the code. */
  async #check(input: Buffer): Promise<void> {
    const { slowMs } = this.#target.allows ?? usualLimits;
    const times: number[] = [];
    for (let time = 0; time < 3; time++) times.push((await this.#read(input)).cpuMs);
    const least = Math.min(...times);
    if (least > slowMs) {
      const why = `${least.toFixed(0)} ms of processor time for ${input.length} bytes, three times`;
      post({ kind: 'finding', finding: { kind: 'slow', why, target: this.#target.name, input } });
    }
  }
}

let isRunning = false;
let done: FuzzDone | undefined;
process.on('message', (task: FuzzTask) => {
  isRunning = true;
  // Only what the target started keeps the process running until the task is done.
  process.channel?.unref();
  void loadTarget(task.target)
    .then((target) => new TaskRun(task, target).run())
    .then((figures) => (done = figures));
});
process.on('beforeExit', () => {
  if (!isRunning) return;
  // A reader never answered, and waits for nothing: the owner names its input.
  if (done === undefined) process.exit(13);
  post(done);
  isRunning = false;
  done = undefined;
  process.channel?.ref();
});

import { kindOf, playSeed, report } from './search.ts';
import type { Kind } from './engine/history.ts';
import { kinds } from './engine/history.ts';
import { planted } from './planted/list.ts';
import { registerStandIns } from './stand-ins.ts';

/**
 * One process of `npm run test:sim`: plays every `step`-th seed, prints one line of JSON, and ends.
 * Arguments: the first seed, the number of histories, the step, the kind or nothing, the number of a planted
 * bug or nothing.
 */
const [first = 1, histories = 0, step = 1] = process.argv.slice(2, 5).map(Number);
const [kindName = '', bug = ''] = process.argv.slice(5);
const kind = kinds.find((one) => one === kindName);
registerStandIns(bug === '' ? undefined : planted[Number(bug)]);

export interface LaneResult {
  readonly histories: number;
  readonly steps: number;
  readonly crashes: number;
  readonly seed?: number;
  readonly invariant?: string;
  readonly report?: string;
}

async function play(chosen: readonly Kind[]): Promise<LaneResult> {
  const sum = { histories: 0, steps: 0, crashes: 0 };
  for (let seed = first; seed < first + histories; seed += step) {
    const result = await playSeed(seed, kindOf(seed, chosen));
    sum.histories += 1;
    if ('broken' in result)
      return { ...sum, seed, invariant: result.broken.invariant, report: await report(result) };
    sum.steps += result.steps;
    sum.crashes += result.crashes;
  }
  return sum;
}

process.stdout.write(`${JSON.stringify(await play(kind === undefined ? kinds : [kind]))}\n`);

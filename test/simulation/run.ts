import { parseArgs } from 'node:util';
import { playHistory } from './history.ts';

const { values } = parseArgs({ options: { histories: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' } } });
const first = Number(values.seed);
const count = Number(values.histories);
const begin = performance.now();
let crashes = 0;
let steps = 0;
for (let seed = first; seed < first + count; seed += 1) {
  try {
    const result = await playHistory(seed);
    crashes += result.crashes;
    steps += result.steps;
  } catch (cause) {
    console.error(`seed ${seed} broke an invariant; replay: npm run test:sim -- --seed ${seed} --histories 1`);
    console.error(cause);
    process.exit(1);
  }
}
console.log(
  `${count} histories, ${steps} requests, ${crashes} crashes, no invariant broken, ${((performance.now() - begin) / 1000).toFixed(1)} s (seeds ${first} to ${first + count - 1})`,
);

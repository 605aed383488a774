import { test } from 'node:test';
import { playHistory } from './history.ts';

const histories = 300;

test(`${histories} random histories of pods and containers, with crashes and faults, break no invariant`, async () => {
  for (let seed = 1; seed <= histories; seed += 1) {
    try {
      await playHistory(seed);
    } catch (cause) {
      throw new Error(`seed ${seed}: replay with npm run test:sim -- --seed ${seed} --histories 1`, { cause });
    }
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkStatus } from '../types.ts';
import { createEngineQuestions } from './engine-questions.ts';

const ready: NetworkStatus = { ready: true, reason: 'NetworkReady', message: '', networks: [] };
const ask = (): Promise<never> => Promise.reject(new Error('not asked'));

test('while the thread does not answer, the last status counts until it has hung for 30 s', async () => {
  let [hangs, second] = [false, 0];
  const joining = { status: () => (hangs ? new Promise<never>(() => undefined) : Promise.resolve(ready)) };
  const times = { patience: 10, now: () => second * 1_000 };
  const [known, unknown] = [
    createEngineQuestions(ask, joining, times),
    createEngineQuestions(ask, joining, times),
  ];
  assert.equal((await known.status()).ready, true);
  hangs = true;
  // Nobody asked for an hour: this does not say that the thread hangs.
  second = 3_600;
  assert.equal((await known.status()).ready, true);
  second += 29;
  assert.equal((await known.status()).ready, true);
  second += 1;
  for (const questions of [known, unknown])
    assert.partialDeepStrictEqual(await questions.status(), {
      ready: false,
      reason: 'NetworkEngineFailed',
      message:
        'the network thread has not answered for 30 s; check the load of the machine, and the disk of `root`',
    });
});

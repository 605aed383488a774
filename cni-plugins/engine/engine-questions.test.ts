import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkStatus } from '../types.ts';
import { createEngineQuestions } from './engine-questions.ts';

const ready: NetworkStatus = { ready: true, reason: 'NetworkReady', message: '', networks: [] };
const ask = (): Promise<never> => Promise.reject(new Error('not asked'));

test('while the thread does not answer, the last status counts for a time, and then none', async () => {
  let hangs = false;
  const joining = { status: () => (hangs ? new Promise<never>(() => undefined) : Promise.resolve(ready)) };
  const patient = createEngineQuestions(ask, joining, { patienceMs: 10, keptMs: Infinity });
  const strict = createEngineQuestions(ask, joining, { patienceMs: 10, keptMs: 0 });
  const before = createEngineQuestions(ask, joining, { patienceMs: 10, keptMs: Infinity });
  await strict.status();
  assert.equal((await patient.status()).ready, true);
  hangs = true;
  assert.equal((await patient.status()).ready, true);
  for (const questions of [strict, before])
    assert.partialDeepStrictEqual(await questions.status(), {
      ready: false,
      reason: 'NetworkEngineFailed',
      message: 'the network thread does not answer; check the disk of `root`',
    });
});

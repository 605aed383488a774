import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { attempt } from '../../base/errors/index.ts';
import { runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';

test('the thread that proves filters starts with the first pod, and not with the daemon', async (t) => {
  const stage = await openStage();
  t.after(() => stage.close());
  const { pid } = stage.daemon;
  const threads = (): string[] =>
    // A thread may end meanwhile.
    readdirSync(`/proc/${pid}/task`).map(
      (id) => attempt(() => readFileSync(`/proc/${pid}/task/${id}/comm`, 'utf8').trim()) ?? '',
    );
  assert.ok(threads().includes('network.worker'), 'threads have the names of their files');
  await pause(500);
  assert.ok(!threads().includes('prover.worker'), 'a daemon without pods');
  await runPod(stage, 'first');
  for (let waited = 0; !threads().includes('prover.worker') && waited < 20_000; waited += 10) await pause(10);
  assert.ok(threads().includes('prover.worker'), 'after the first pod');
});

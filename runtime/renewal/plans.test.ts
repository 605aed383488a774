import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sealDossier } from '../../trust/evidence/index.ts';
import { createPlans } from './plans.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const reference = 'registry.example.com/app:1';
const gatheredAt = new Date(0).toISOString();
const parts = { reference, digest, manifestDigest: digest, items: [], unreachable: [], gatheredAt };
const used = { imageId: digest, dossier: sealDossier(parts), names: [reference] };

test('the plan of a clock that was ahead is made again after the clock is corrected', async () => {
  let time = Date.parse('2036-02-07T06:28:16Z');
  const plans = createPlans(
    () => new Date(time),
    () => 0,
  );
  const policy = { revision: 'one', default: 'deny', rules: [] } as const;
  const ahead = await plans.of(used, policy);
  // As after a renewal that failed.
  ahead.due = time + 60_000;
  ahead.triedNow = time;
  time += 1000;
  assert.equal(await plans.of(used, policy), ahead);
  time = Date.parse('2030-01-01T00:00:00Z');
  const right = await plans.of(used, policy);
  assert.equal(right.due, undefined);
  assert.equal(right.triedNow, 0);
  time += 1000;
  assert.equal(await plans.of(used, policy), right);
});

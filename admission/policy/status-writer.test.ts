import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PortcullisError } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { documentOf } from './documents.ts';
import { createStatusWriter } from './status-writer.ts';

const log = createLogger({ level: 'silent' });
const documents = ['a', 'b', 'c'].map(
  (name) => documentOf('TrustPolicy', { metadata: { name, uid: name, generation: 1 } }) ?? assert.fail(),
);
const result = { revision: 'sha256:1', problems: new Map(), failure: undefined };

test('without the right to write statuses, one attempt is made, and another one later', async () => {
  let attempts = 0;
  const send = (): Promise<never> => {
    attempts += 1;
    const failure = { attempted: 'write', on: '', why: '403', fix: 'wait', details: { status: 403 } };
    throw new PortcullisError({ code: 'KUBERNETES_API_REFUSED', kind: 'unavailable', ...failure });
  };
  const writer = (withoutRightMs: number) =>
    createStatusWriter(
      { client: { send }, log, statusJitterMs: 0, withoutRightMs },
      AbortSignal.any([]),
      (key) => documents.find(({ name }) => key.endsWith(`/${name}`)),
    );
  const patient = writer(1_000_000);
  for (const total of [1, 1]) {
    await patient.write(documents, result);
    assert.equal(attempts, total);
  }
  patient.forget();
  await patient.write(documents, result);
  assert.equal(attempts, 2);
  const impatient = writer(1);
  await impatient.write(documents.slice(0, 1), result);
  await sleep(5);
  await impatient.write(documents.slice(0, 1), result);
  assert.equal(attempts, 4);
});

test('a status that another one overwrote is written again later, or after a change', async () => {
  let writes = 0;
  const send = (): Promise<Record<string, unknown>> => {
    writes += 1;
    // As if another one overwrote it: the document keeps its former status.
    return Promise.resolve({});
  };
  const writer = (statusRepeatMs: number) =>
    createStatusWriter(
      { client: { send }, log, statusJitterMs: 0, statusRepeatMs },
      AbortSignal.any([]),
      (key) => documents.find(({ name }) => key.endsWith(`/${name}`)),
    );
  const patient = writer(1_000_000);
  for (const total of [3, 3]) {
    await patient.write(documents, result);
    assert.equal(writes, total);
  }
  patient.forget();
  await patient.write(documents, result);
  assert.equal(writes, 6);
  const impatient = writer(1);
  await impatient.write(documents.slice(0, 1), result);
  await sleep(5);
  await impatient.write(documents.slice(0, 1), result);
  assert.equal(writes, 8);
});

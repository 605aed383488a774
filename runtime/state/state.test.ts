import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import { now } from './identity.ts';
import { openRecords, recordsSchema } from './records.ts';
import type { Keyed } from './records.ts';
import { settleAll } from './settle.ts';

interface Thing extends Keyed {
  readonly bytes: Uint8Array;
}

test('records are read from disk unchanged, in order of creation', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'records-'));
  const open = () =>
    openDatabase({ path: join(folder, 'db'), migrations: [{ version: 1, sql: recordsSchema }] });
  try {
    const first = await open();
    const records = await openRecords<Thing>(first, 'sandbox');
    await records.put({ id: 'bb1', name: 'b', bytes: Uint8Array.from([0, 255]) });
    await records.put({ id: 'aa1', name: 'a', bytes: Uint8Array.from([]) });
    await records.put({ id: 'bb1', name: 'b', bytes: Uint8Array.from([1, 2]) });
    await records.delete('aa1');
    await records.delete('aa1');
    await first.close();
    const second = await open();
    const again = await openRecords<Thing>(second, 'sandbox');
    assert.deepEqual(again.list(), [{ id: 'bb1', name: 'b', bytes: Uint8Array.from([1, 2]) }]);
    assert.equal(again.find('bb')?.id, 'bb1');
    assert.equal(again.find(''), undefined);
    assert.equal(again.byName('a'), undefined);
    await second.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a write that failed but took effect does not block its name', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'records-'));
  const open = () =>
    openDatabase({ path: join(folder, 'db'), migrations: [{ version: 1, sql: recordsSchema }] });
  try {
    const database = await open();
    let lost = true;
    const records = await openRecords<Thing>(
      {
        ...database,
        write: (...given) =>
          // oxlint-disable-next-line typescript/no-misused-promises -- finally waits for the promise
          database.write(...given).finally(() => (lost ? Promise.reject(new Error('lost')) : undefined)),
      },
      'sandbox',
    );
    await assert.rejects(records.put({ id: 'a1', name: 'a', bytes: Uint8Array.of(1) }), /lost/);
    lost = false;
    assert.equal(records.byName('a'), undefined);
    await records.put({ id: 'a2', name: 'a', bytes: Uint8Array.of(2) });
    await assert.rejects(records.put({ id: 'a3', name: 'a', bytes: Uint8Array.of(3) }), {
      code: 'STORAGE_CONSTRAINT',
    });
    await database.close();
    const again = await open();
    assert.deepEqual(
      (await openRecords<Thing>(again, 'sandbox')).list().map(({ id }) => id),
      ['a2'],
    );
    await again.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a change is reported once it is visible, with the previous value, and a write that changes nothing is not reported', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'records-'));
  const database = await openDatabase({
    path: join(folder, 'db'),
    migrations: [{ version: 1, sql: recordsSchema }],
  });
  try {
    const records = await openRecords<Thing>(database, 'sandbox');
    const reported: unknown[] = [];
    const stop = records.onChange(({ before, after }) =>
      reported.push([before?.bytes[0], after?.bytes[0], records.get('a')?.bytes[0]]),
    );
    await records.put({ id: 'a', name: 'a', bytes: Uint8Array.of(1) });
    await records.put({ id: 'a', name: 'a', bytes: Uint8Array.of(2) });
    await records.delete('a');
    await records.delete('a');
    stop();
    await records.put({ id: 'a', name: 'a', bytes: Uint8Array.of(3) });
    assert.deepEqual(reported, [
      [undefined, 1, 1],
      [1, 2, 2],
      [2, undefined, undefined],
    ]);
  } finally {
    await database.close();
    rmSync(folder, { recursive: true });
  }
});

test('settleAll waits for the slowest part before it fails', async () => {
  let done = false;
  const slow = new Promise<void>((resolve) => setTimeout(resolve, 20)).then(() => void (done = true));
  await assert.rejects(settleAll([Promise.reject(new Error('fast')), slow]), /fast/);
  assert.equal(done, true);
});

test('the clock never returns the same time twice', () => {
  const times = Array.from({ length: 1000 }, now);
  assert.equal(new Set(times).size, 1000);
});

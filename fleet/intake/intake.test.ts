import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { genesis, parseNoteKey, rowHash } from '../../trust/verdict-log/index.ts';
import { openKit, signCheckpoint } from '../../trust/verdict-log/log.fixture.ts';
import type { LogKit } from '../../trust/verdict-log/log.fixture.ts';
import { rowRecord, sourceOf, temporaryFolder } from '../fleet.fixture.ts';
import type { LogRecord, ResourceRecords } from '../records/log-record.ts';
import { eventNames } from '../records/record-names.ts';
import { listRows, listVerdicts, readNode } from '../store/queries.ts';
import { openFleetStore } from '../store/store.ts';
import type { FleetStore } from '../store/store.ts';
import { createIntake } from './intake.ts';

async function openStore(t: TestContext): Promise<FleetStore> {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  return store;
}

const now = (): number => 1_800_000_000_000;
const sent = (...records: readonly LogRecord[]): readonly ResourceRecords[] => [
  { attributes: new Map(), records },
];
const checkpointOf = async (kit: LogKit): Promise<LogRecord> => ({
  ...{ event: eventNames.checkpoint, time: 0, attributes: new Map() },
  body: (await sourceOf(kit).checkpoint())?.note ?? '',
});
const codesOf = async ({ database }: FleetStore): Promise<readonly string[]> =>
  (await readNode(database, 'a'))?.problems.map(({ code }) => code) ?? [];

test('a configured key has precedence, also if it is configured after the log was received', async (t) => {
  const kit = await openKit(t, { checkpointRows: 1_000_000 });
  const other = await openKit(t);
  const store = await openStore(t);
  const before = createIntake(store, { now, pinnedKey: () => undefined });
  await before.receive('a', sent(...(await sourceOf(kit).rows(0, 10)).map(rowRecord)));
  const pinned = readFileSync(join(other.folder, 'verdict-log.key.pub'), 'utf8').trim();
  const after = createIntake(store, { now, pinnedKey: () => pinned });
  await kit.log.checkpoint();
  const { rejected, message } = await after.receive('a', sent(await checkpointOf(kit)));
  assert.equal(rejected, 1, message);
  assert.match(message, /has no valid signature/u);
  assert.deepEqual(await codesOf(store), ['LOG_KEY_CHANGED', 'LOG_CHECKPOINT_WRONG']);
});

test('a second, different checkpoint of the same rows is a fork, also after the rows have expired', async (t) => {
  const kit = await openKit(t, { checkpointRows: 1_000_000 });
  const store = await openStore(t);
  const intake = createIntake(store, { now, pinnedKey: () => undefined });
  await kit.append(4);
  await kit.log.checkpoint();
  const first = await checkpointOf(kit);
  await kit.append(3);
  const rows = await sourceOf(kit).rows(0, 10);
  await intake.receive('a', sent(...rows.map(rowRecord), first));
  await store.expire({ before: now() + 1, bytes: 2 ** 30 });
  const keyFile = join(kit.folder, 'verdict-log.key');
  const key = parseNoteKey(readFileSync(`${keyFile}.pub`, 'utf8').trim());
  assert.ok(key !== undefined);
  const size = (await store.node('a')).signed;
  assert.ok(size > 0 && size < rows.length);
  const rewritten = signCheckpoint(
    { size, hash: 'f'.repeat(64) },
    new Date(now()),
    key,
    createPrivateKey(readFileSync(keyFile)),
  );
  const { rejected } = await intake.receive('a', sent({ ...first, body: rewritten }));
  assert.equal(rejected, 1);
  assert.deepEqual(await codesOf(store), ['LOG_FORKED']);
  assert.equal((await store.node('a')).note, first.body, 'the previous checkpoint is kept');
});

test('many problems with one code do not prevent the report of a problem with another code', async (t) => {
  const kit = await openKit(t, { checkpointRows: 1_000_000 });
  const store = await openStore(t);
  const intake = createIntake(store, { now, pinnedKey: () => undefined });
  await kit.append(120);
  const rows = await sourceOf(kit).rows(0, 200);
  await intake.receive('a', sent(...rows.map(rowRecord)));
  const forged = rows.map((row) => rowRecord({ ...row, hash: '0'.repeat(64) }));
  await intake.receive('a', sent(...forged, { ...(await checkpointOf(kit)), body: 'no checkpoint' }));
  const codes = await codesOf(store);
  assert.deepEqual([...new Set(codes)].sort(), ['LOG_CHECKPOINT_WRONG', 'LOG_FORKED']);
  assert.equal(codes.length, 101);
});

test('a verdict from the future does not stay before the later verdicts of other nodes', async (t) => {
  const store = await openStore(t);
  let clock = now();
  const intake = createIntake(store, { now: () => clock, pinnedKey: () => undefined });
  const rowOf = (time: string): LogRecord => {
    const fields = { decidedAt: time, digest: 'sha256:2', dossier: 'd', kind: 'verdict', namespace: 'n' };
    const more = { outcome: 'deny', policy: 'p', policyRevision: 'r', reference: 'a', time, verdict: 'v' };
    const row = { seq: 1, entry: JSON.stringify({ ...fields, ...more }), evidence: '' };
    return rowRecord({ ...row, hash: rowHash(genesis, row) });
  };
  const arrived = clock;
  await intake.receive('liar', sent(rowOf('9999-01-01T00:00:00.000Z')));
  clock += 1000;
  await intake.receive('other', sent(rowOf(new Date(clock).toISOString())));
  const { entries } = await listVerdicts(store.database, {}, undefined, 10);
  assert.deepEqual(
    entries.map(({ node, time }) => [node, Date.parse(time)]),
    [
      ['other', clock],
      ['liar', arrived],
    ],
  );
  assert.match((await listRows(store.database, 'liar', 0, 1)).entries[0]?.entry ?? '', /"time":"9999-/u);
});

test('a row, a state or a policy with very many values is refused before it is read', async (t) => {
  const intake = createIntake(await openStore(t), { now, pinnedKey: () => undefined });
  const row = (count: number): LogRecord => {
    const entry = JSON.stringify({ kind: 'later', pad: Array.from({ length: count }, () => 0), time: '' });
    const hash = rowHash(genesis, { seq: 1, entry, evidence: '' });
    return rowRecord({ seq: 1, entry, evidence: '', hash });
  };
  const { rejected, message } = await intake.receive('a', sent(row(100_000)));
  assert.deepEqual([rejected, message], [1, 'row 1 has more than 65536 values']);
  assert.equal((await intake.receive('a', sent(row(1000)))).rejected, 0);
  const record = (event: string): LogRecord => ({
    ...{ event, time: 0, attributes: new Map<string, string>() },
    body: `[${'{},'.repeat(150_000)}{}]`,
  });
  for (const event of [eventNames.state, eventNames.policy]) {
    const refused = await intake.receive('a', sent(record(event)));
    assert.match(refused.message, /has more than \d+ values/u);
  }
});

test('the records of a node are received between those of a node that sends many', async (t) => {
  const intake = createIntake(await openStore(t), { now, pinnedKey: () => undefined });
  const unknown: LogRecord = { event: 'unknown', time: 0, attributes: new Map(), body: '' };
  const order: string[] = [];
  const receive = async (name: string, count: number): Promise<void> => {
    await intake.receive(name, sent(...Array.from({ length: count }, () => unknown)));
    order.push(name);
  };
  await Promise.all([receive('many', 4000), receive('few', 1)]);
  assert.deepEqual(order, ['few', 'many']);
});

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { startBackgroundChecks } from './background-checks.ts';
import type { BackgroundChecks, BackgroundChecksDeps } from './background-checks.ts';
import { storeFolders } from './folders.ts';
import { openImageRecords } from './records.ts';
import { contentOf, openKit, pushImage, tarOf } from './test-kit.ts';
import type { Kit } from './test-kit.ts';

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
let registry: TestRegistry;
let kit: Kit;
/** The layer folders, in the order of a pass. */
let layers: readonly string[] = [];
let checks: BackgroundChecks | undefined;
let log: { readonly message: string; readonly fields: object }[] = [];

before(async () => {
  if (skip !== false) return;
  registry = await startRegistry();
  kit = await openKit(registry.host);
  const archives = await Promise.all(
    ['one', 'two', 'three'].map((name) => tarOf([{ name: 'id', body: name.padEnd(9000, name) }])),
  );
  await pushImage(kit.repository('open/checked'), { layers: archives.map((tar) => ({ tar })), tag: '1' });
  await kit.store.pull({ reference: kit.reference('open/checked'), namespace: '' });
  layers = readdirSync(`${kit.root}/layers`).sort();
});
after(async () => {
  if (skip !== false) return;
  await kit.close();
  await registry.close();
});
beforeEach(() => {
  log = [];
});
afterEach(async () => {
  await checks?.close();
  checks = undefined;
});

const everyMs = 86_400_000;
const statePath = (): string => `${kit.root}/layer-checks.json`;
const setState = (begins: number, passed = ''): void =>
  writeFileSync(statePath(), JSON.stringify({ begins, after: passed }));
const state = (): unknown => JSON.parse(readFileSync(statePath(), 'utf8'));

/** Starts the checks. Returns the layers that they check, in order. */
async function start(
  options: { readonly bytesPerSecond?: number; readonly everyMs?: number } = {},
  records?: BackgroundChecksDeps['records'],
): Promise<readonly string[]> {
  const asked: string[] = [];
  const recorder = (fields: object, message: string): void => void log.push({ fields, message });
  checks = startBackgroundChecks(
    {
      folders: storeFolders(kit.root),
      records: records ?? (await openImageRecords(kit.database)),
      upkeep: {
        check(layer) {
          asked.push(layer);
          return kit.store.upkeep.check(layer);
        },
      },
      log: { info: recorder, warn: recorder, debug: recorder },
    },
    { everyMs, bytesPerSecond: 2 ** 40, ...options },
  );
  return asked;
}

async function passed(): Promise<object> {
  for (const until = Date.now() + 60_000; Date.now() < until; await pause(10)) {
    const done = log.find(({ message }) => message.includes('were compared'));
    if (done !== undefined) return done.fields;
  }
  throw new Error('no pass ended within a minute');
}

test(
  'a pass that is due finds a flipped byte, and the layer is restored before its next use',
  { skip },
  async () => {
    const file = contentOf(`${kit.root}/layers/${layers[1] ?? ''}`, 'id');
    const whole = readFileSync(file);
    const changed = Buffer.from(whole);
    const at = Math.max(...['oneone', 'twotwo', 'threethree'].map((text) => whole.indexOf(text)));
    changed[at] = (changed[at] ?? 0) ^ 1;
    writeFileSync(file, changed);
    setState(Date.now() - 1);
    const asked = await start();
    assert.deepEqual(await passed(), { layers: 3, damaged: 1 });
    assert.deepEqual(asked, layers);
    await kit.store.mountRootfs('c1', kit.store.list()[0] ?? assert.fail());
    assert.deepEqual(readFileSync(file), whole);
    await kit.store.removeRootfs('c1');
  },
);

test('the next pass begins one interval after the start of the previous one', { skip }, async () => {
  setState(Date.now() - 1);
  await start();
  await passed();
  await pause(50);
  const { begins, after: last } = state() as { begins: number; after: string };
  assert.ok(Math.abs(begins - Date.now() - everyMs) < 60_000);
  assert.equal(last, '');
});

test('a pass continues after a restart where it was interrupted', { skip }, async () => {
  setState(Date.now() - 1, layers[0]);
  const asked = await start();
  assert.deepEqual(await passed(), { layers: 2, damaged: 0 });
  assert.deepEqual(asked, layers.slice(1));
});

test('the first pass begins after one interval if the state is missing or truncated', { skip }, async () => {
  for (const text of ['', '{"begins":']) {
    writeFileSync(statePath(), text);
    const asked = await start();
    await pause(200);
    assert.deepEqual(asked, []);
    assert.ok((state() as { begins: number }).begins > Date.now() + everyMs / 2);
    await checks?.close();
  }
});

test('a pass runs even if its progress cannot be written', { skip }, async () => {
  rmSync(statePath(), { force: true });
  mkdirSync(`${statePath()}/in-the-way`, { recursive: true });
  try {
    const asked = await start({ everyMs: 300 });
    await passed();
    assert.deepEqual(asked.slice(0, 3), layers);
    const warnings = log.filter(({ message }) => message.includes('cannot be written'));
    assert.equal(warnings.length, 1);
  } finally {
    await checks?.close();
    rmSync(statePath(), { recursive: true });
  }
});

test('a clock that was set back delays a pass by at most one interval', { skip }, async () => {
  setState(Date.now() + 100 * everyMs);
  const asked = await start({ everyMs: 500 });
  await passed();
  assert.deepEqual(asked.slice(0, 3), layers);
});

test('layers that fs-verity protects are skipped', { skip }, async () => {
  const records = await openImageRecords(kit.database);
  const rows = [...records.layers()].map((row) => (row.folder === layers[2] ? row : { ...row, verity: '0' }));
  setState(Date.now() - 1);
  const asked = await start({}, { layer: records.layer, layers: () => rows });
  assert.deepEqual(await passed(), { layers: 1, damaged: 0 });
  assert.deepEqual(asked, layers.slice(2));
});

test('the rate is limited, and a stop does not wait for it', { skip }, async () => {
  setState(Date.now() - 1);
  // At this rate, one layer takes minutes.
  const asked = await start({ bytesPerSecond: 100 });
  for (const until = Date.now() + 30_000; asked.length === 0 && Date.now() < until;) await pause(10);
  await pause(500);
  assert.deepEqual(asked, layers.slice(0, 1));
  assert.equal((state() as { after: string }).after, layers[0]);
  const begun = Date.now();
  await checks?.close();
  assert.ok(Date.now() - begun < 60_000);
});

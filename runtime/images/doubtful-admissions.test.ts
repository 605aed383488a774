import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { stateMigrations } from '../database/schema.ts';
import { openImageRecords } from './records.ts';
import type { Admission } from './stored-image.ts';

/** An admission without layers: its names are all that matters here. */
function admissionOf(id: string, ...names: readonly string[]): Admission {
  const digest = `sha256:${id.repeat(64)}`;
  const dossier = { id: `dossier-${id}`, items: [] } as unknown as Admission['names'][number]['dossier'];
  const config = {} as unknown as Admission['image']['config'];
  return {
    image: { id: digest, manifestDigest: digest, digest, size: 1, config, layers: [] },
    names: names.map((name) => ({
      ...{ name, asked: true, digest, manifestDigest: digest, dossier, verdictId: 'v', unverified: false },
    })),
    layers: [],
    documents: [],
  };
}

/** Returns a database of which chosen writes take effect and are reported as failed. */
async function opened(t: TestContext): Promise<{
  database: Database;
  /** Number of statements of each write. */
  sizes: readonly number[];
  failNext: (count: number) => void;
}> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-doubt-'));
  const real = await openDatabase({
    path: join(folder, 'state.db'),
    migrations: stateMigrations,
  });
  t.after(async () => {
    await real.close();
    rmSync(folder, { recursive: true });
  });
  let failing = 0;
  const sizes: number[] = [];
  const database: Database = {
    ...real,
    async write(statements, ...rest) {
      sizes.push(statements.length);
      const written = await real.write(statements, ...rest);
      if (failing === 0) return written;
      failing -= 1;
      throw new Error('no space');
    },
  };
  return { database, sizes, failNext: (count) => (failing = count) };
}

const listed = async (database: Database): Promise<string[]> =>
  (await openImageRecords(database)).list().map(
    ({ id, names }) =>
      `${id.at(-1) ?? ''}: ${names
        .map(({ name }) => name)
        .toSorted()
        .join(' ')}`,
  );

for (const failures of [1, 2])
  test(`an admission that was reported as failed, but took effect, is gone at the next start (${failures} failed writes)`, async (t) => {
    const { database, failNext } = await opened(t);
    const records = await openImageRecords(database);
    failNext(failures);
    await assert.rejects(records.admit(admissionOf('a', 'app:1', 'app@a'), []), /no space/u);
    assert.deepEqual(records.list(), []);
    await records.admit(admissionOf('b', 'app:1', 'app@b'), []);
    assert.deepEqual(await listed(database), ['b: app:1 app@b']);
  });

test('after a failed admission, a name belongs to its image again, and an image has its former names', async (t) => {
  const { database, failNext } = await opened(t);
  const records = await openImageRecords(database);
  await records.admit(admissionOf('a', 'app:1', 'app@a'), []);
  await records.admit(admissionOf('c', 'other:1'), []);
  failNext(1);
  await assert.rejects(records.admit(admissionOf('b', 'app:1', 'app@b'), []), /no space/u);
  failNext(1);
  await assert.rejects(records.admit(admissionOf('c', 'other:1', 'new:1'), []), /no space/u);
  assert.deepEqual(await listed(database), ['a: app:1 app@a', 'c: other:1']);
  assert.equal(records.byName('app:1')?.id.at(-1), 'a');
});

test('while no write succeeds, repeated pulls of one image do not make the writes longer', async (t) => {
  const { database, sizes, failNext } = await opened(t);
  const records = await openImageRecords(database);
  failNext(Infinity);
  for (let pull = 0; pull < 50; pull += 1)
    await assert.rejects(records.admit(admissionOf('a', 'app:1', 'app@a'), []), /no space/u);
  assert.ok(Math.max(...sizes) <= 8, `${Math.max(...sizes)} statements`);
  failNext(0);
  await records.admit(admissionOf('b', 'app:1'), []);
  assert.deepEqual(await listed(database), ['b: app:1']);
});

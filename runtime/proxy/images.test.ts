import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import { stateMigrations } from '../database/schema.ts';
import { openProxyImages } from './images.ts';
import type { ProxyImagesDeps } from './images.ts';

test('an image whose record is damaged is removed from the records, and the log names it', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-proxy-images-'));
  t.after(() => rmSync(root, { recursive: true }));
  const database = await openDatabase({ path: join(root, 'state.db'), migrations: stateMigrations });
  t.after(() => database.close());
  await database.write([
    {
      sql: "INSERT INTO image (id, manifest_digest, digest, size, config, layers, seq) VALUES ('sha256:1', '', '', 1, '{\"en', '[]', 1)",
    },
  ]);
  const logged: unknown[] = [];
  const images = await openProxyImages({
    ...{ root, database, registryOptions: {} },
    log: { error: (...said: unknown[]) => void logged.push(said) },
  } as unknown as ProxyImagesDeps);
  t.after(() => images.close());
  assert.deepEqual(await database.all('SELECT id FROM image'), []);
  assert.match(JSON.stringify(logged), /sha256:1/u);
});

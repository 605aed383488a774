import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import { removeConflist, writeConflist } from './conflist.ts';

test('the conflist is written if the folder answers, and removed', async (t) => {
  const confDir = mkdtempSync(join(tmpdir(), 'portcullis-conflist-'));
  t.after(() => rmSync(confDir, { recursive: true }));
  let asked = 0;
  const confDirAnswers = async (): Promise<void> => void (asked += 1);
  const settings = { name: 'wide', bridge: 'wide0', confDir, order: '10', confDirAnswers };
  const path = await writeConflist(settings, ['10.1.2.0/24'], 1400);
  assert.match(readFileSync(path, 'utf8'), /10\.1\.2\.0\/24/u);
  assert.equal(asked, 1);
  await removeConflist(settings);
  assert.deepEqual(readdirSync(confDir), []);
});

test('a folder whose file server does not answer is not touched', { skip: noDeadServer }, async (t) => {
  const server = mountDeadServer();
  t.after(() => server.close());
  const settings = {
    ...{ name: 'wide', bridge: 'wide0', confDir: join(server.folder, 'conf'), order: '10' },
    confDirAnswers: () => Promise.reject(new Error('no answer')),
  };
  // A touch would block this thread for ever.
  await assert.rejects(writeConflist(settings, ['10.1.2.0/24'], 1400), /no answer/);
  await assert.rejects(removeConflist(settings), /no answer/);
});

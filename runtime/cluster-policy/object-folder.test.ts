import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { openObjectFolder } from './object-folder.ts';

test('documents are named without the folder of their set, and other paths are complete', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-object-folder-'));
  t.after(() => rmSync(root, { recursive: true }));
  const folder = await openObjectFolder(root);
  const files = new Map([['a.yaml', Buffer.from('{}')]]);
  const { folder: set, paths } = await folder.unpack({ documents: ['a.yaml'], files });
  assert.equal(
    folder.shorten(`load ${paths.join()}: ${paths.join()}:1:2: rules`),
    'load a.yaml: a.yaml:1:2: rules',
  );
  for (const text of [
    `load the policies of the cluster ${set}: a.yaml differs`,
    `ENOSPC: no space left on device, open '${set}.new/a.yaml'`,
    `EACCES: permission denied, scandir '${dirname(set)}/'`,
  ])
    assert.equal(folder.shorten(text), text);
});

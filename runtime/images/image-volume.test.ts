import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { queryObjects } from 'node:v8';
import type { Kernel } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { storeFolders } from './folders.ts';
import { openVolumeStore } from './image-volume.ts';
import type { LayerRoots } from './layer-roots.ts';

test('the removal of containers without volumes leaves nothing in memory', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-volumes-'));
  t.after(() => rmSync(root, { recursive: true }));
  const folders = storeFolders(root);
  mkdirSync(folders.volumes, { recursive: true });
  const volumes = await openVolumeStore(
    folders,
    {} as Kernel,
    {} as LayerRoots,
    { discard: () => Promise.reject(new Error('there is none')) } as never,
    createLogger({ level: 'silent' }),
  );
  const before = queryObjects(Promise, { format: 'count' });
  for (let index = 0; index < 1_000; index += 1) await volumes.remove(`c${String(index)}`);
  const left = queryObjects(Promise, { format: 'count' }) - before;
  assert.ok(left < 100, `${String(left)} promises`);
  assert.deepEqual(volumes.known(), []);
});

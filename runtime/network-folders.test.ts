import assert from 'node:assert/strict';
import fs, { mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../base/log/index.ts';
import { followNetworkFolders } from './network-folders.ts';

test('one look that fails says nothing of the folder: its gate stays open', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-folder-'));
  const real = fs.readlinkSync;
  const restore = (): void => {
    fs.readlinkSync = real;
    syncBuiltinESMExports();
  };
  const folders = await followNetworkFolders({
    folders: [folder],
    copies: join(folder, 'copies'),
    paths: { folderTexts: () => Promise.reject(Object.assign(new Error('EMFILE'), { code: 'EMFILE' })) },
    log: createLogger({ level: 'silent' }),
  });
  t.after(() => {
    restore();
    folders.close();
    rmSync(folder, { recursive: true });
  });
  const states = (): number[] => folders.gates.map(({ state }) => Atomics.load(state, 0));
  const before = states();
  let looks = 0;
  fs.readlinkSync = () => {
    looks += 1;
    restore();
    throw Object.assign(new Error('EIO'), { code: 'EIO' });
  };
  syncBuiltinESMExports();
  for (let waited = 0; looks === 0 && waited < 10_000; waited += 50) await pause(50);
  await pause(50);
  assert.ok(looks > 0);
  assert.deepEqual(states(), before);
});

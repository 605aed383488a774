import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { withFolderLock } from './folder-lock.ts';

/** Starts a process that holds the lock of a new folder while it runs a script. */
async function heldFolder(t: TestContext, script: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-folder-lock-'));
  const holder = spawn('flock', [folder, 'sh', '-c', `echo locked; ${script}`], {
    cwd: folder,
    detached: true,
  });
  t.after(() => {
    if (holder.exitCode === null) process.kill(-(holder.pid ?? 0), 'SIGKILL');
    rmSync(folder, { recursive: true });
  });
  await once(holder.stdout, 'data');
  return folder;
}

test('waits while another process holds the lock', async (t) => {
  const folder = await heldFolder(t, 'sleep 0.3; touch written');
  assert.equal(
    withFolderLock(folder, () => existsSync(join(folder, 'written')), 60_000),
    true,
  );
});

test('does not wait for ever for a process that keeps the lock', async (t) => {
  const folder = await heldFolder(t, 'sleep 600');
  assert.equal(
    withFolderLock(folder, () => 'ran', 50),
    'ran',
  );
});

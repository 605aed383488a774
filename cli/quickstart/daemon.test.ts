import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startDaemon } from './daemon.ts';

/** Returns whether a process has the folder in its command line. */
const isUsed = (folder: string): boolean =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
      } catch {
        return false;
      }
    });

test('a daemon that does not answer in time is ended', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-silent-daemon-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const inside = (name: string): string => join(folder, name);
  const folders = { root: inside('root'), state: inside('state'), policyFolder: inside('policy') };
  const environment = { folder, socket: inside('s.sock'), cniFolder: inside('cni'), ...folders };
  await assert.rejects(startDaemon(environment, 1), /CLI_DAEMON_SILENT/u);
  // A subshell of the launcher may end after it.
  for (let waited = 0; waited < 400 && isUsed(folder); waited += 1) await pause(50);
  assert.ok(!isUsed(folder));
});

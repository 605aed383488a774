import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { readCgroupMounts } from './cgroups.ts';

const skip = readCgroupMounts().hybrid && existsSync('/sys/fs/cgroup/unified') ? false : 'no hybrid cgroups here: the daemon does not move';
const fixture = join(import.meta.dirname, 'mount-namespace.fixture.ts');

/** Runs a script in a mount namespace of its own, all mounts private; `daemon` and `count` act on the folder. */
function inPrivate(t: TestContext, script: string): { readonly counts: readonly number[]; readonly left: readonly string[] } {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-own-mount-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const functions = `daemon() { "${process.execPath}" "${fixture}" "${folder}" "$1" || true; }; count() { grep -c " ${folder} " /proc/self/mountinfo; }`;
  const run = spawnSync('unshare', ['-m', 'bash', '-c', `${functions}; folder="${folder}"; ${script}`], { encoding: 'utf8' });
  assert.equal(run.signal, null, run.stderr);
  return { counts: run.stdout.trim().split('\n').map(Number), left: readdirSync(folder) };
}

test('a mount of a killed daemon is taken over, not made again, and goes with the stop of a later one', { skip }, (t) => {
  const { counts, left } = inPrivate(t, 'daemon stay; count; daemon stay; count; daemon leave; count; daemon leave; count');
  assert.deepEqual(counts, [1, 1, 0, 0]);
  assert.deepEqual(left, []);
});

test('a daemon that was killed before it shared its mount leaves one mount all the same', { skip }, (t) => {
  const { counts } = inPrivate(t, 'daemon stay; mount --make-private "$folder"; daemon stay; count; daemon leave; count');
  assert.deepEqual(counts, [1, 0]);
});

test('a mount that somebody else made stays, shared or not', { skip }, (t) => {
  const bind = 'mount --bind "$folder" "$folder"';
  assert.deepEqual(inPrivate(t, `${bind}; mount --make-shared "$folder"; daemon stay; daemon leave; count`).counts, [1]);
  assert.deepEqual(inPrivate(t, `${bind}; daemon stay; count; daemon leave; count`).counts, [2, 1]);
});

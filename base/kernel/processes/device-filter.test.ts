import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { denyDeviceInCgroup } from '../index.ts';

test('a device that a cgroup is denied cannot be opened in it, and others can', (t) => {
  const mounted = mkdtempSync(join(tmpdir(), 'pc-cgroup2-'));
  execFileSync('mount', ['-t', 'cgroup2', 'cgroup2', mounted]);
  const cgroup = join(mounted, `portcullis-device-filter-${process.pid}`);
  mkdirSync(cgroup);
  t.after(() => {
    rmdirSync(cgroup);
    execFileSync('umount', [mounted]);
    rmdirSync(mounted);
  });
  const opened = (device: string): string =>
    spawnSync('sh', ['-c', `echo $$ >"${cgroup}/cgroup.procs" && exec 3<${device}`], { encoding: 'utf8' })
      .stderr;
  assert.equal(opened('/dev/full'), '');
  denyDeviceInCgroup(cgroup, { major: 1, minor: 7 });
  assert.match(opened('/dev/full'), /Operation not permitted/u);
  assert.equal(opened('/dev/zero'), '');
});

test('a cgroup that does not exist is an error', () => {
  assert.throws(() => denyDeviceInCgroup('/nonexistent', { major: 1, minor: 7 }), /ENOENT/u);
});

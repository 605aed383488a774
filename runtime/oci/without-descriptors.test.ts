import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { endLeftoverExecs, readPid } from './exec-files.ts';
import { openExecScope } from './exec-scope.ts';
import { detachedFrom } from './exec-session.ts';
import { countsHugepages } from '../cgroups/hugepages.ts';
import { detectResourceSupport } from '../cgroups/resource-support.ts';
import { openAppArmor } from '../containers/confinement/apparmor.ts';

/** A failed read does not mean that a file is missing: only ENOENT and ESRCH do. */
let folder = '';
before(() => {
  // A running daemon has already made its first native call.
  detachedFrom(process.pid);
  folder = mkdtempSync(join(tmpdir(), 'without-descriptors-'));
  writeFileSync(join(folder, 'pid'), '4711');
  writeFileSync(join(folder, 'cgroup.controllers'), 'cpu hugetlb pids');
});
after(() => rmSync(folder, { recursive: true }));

function withoutDescriptors(act: () => void): void {
  const held = holdDescriptors();
  try {
    held.fill();
    act();
  } finally {
    held.release();
  }
}

test('a pid file that cannot be read does not count as missing', () => {
  assert.equal(readPid(join(folder, 'none')), undefined);
  withoutDescriptors(() =>
    assert.throws(() => readPid(join(folder, 'pid')), { code: 'RUNTIME_EXEC_UNREADABLE', kind: 'exhausted' }),
  );
  assert.equal(readPid(join(folder, 'pid')), 4711);
});

test('unreadable controllers and sizes of huge pages do not count as unsupported by the kernel', () => {
  const mounts = { version: 2, hybrid: false, roots: [folder] } as const;
  assert.equal(countsHugepages(mounts), true);
  withoutDescriptors(() => {
    assert.throws(() => countsHugepages(mounts), { code: 'EMFILE' });
    assert.throws(() => detectResourceSupport({ version: 1, hybrid: false, roots: [] }), { code: 'EMFILE' });
  });
});

test('the session of a process is known without a descriptor, but whether it ignores a hangup is not guessed', async () => {
  const command = spawn('sleep', ['600'], { stdio: 'ignore', detached: true });
  const pid = command.pid ?? 0;
  withoutDescriptors(() => {
    // A session other than ours.
    const isDetached = detachedFrom(process.pid);
    assert.throws(() => isDetached(pid), { code: 'EMFILE' });
  });
  assert.equal(detachedFrom(process.pid)(pid), true);
  const gone = once(command, 'exit');
  command.kill('SIGKILL');
  await gone;
});

test('a command is not run without its cgroup when no descriptor is free', async () => {
  const input = { container: 'c'.repeat(64), name: 'exec-1-1', init: process.pid, takesCgroup: true };
  const held = holdDescriptors();
  let asked;
  try {
    held.fill();
    asked = openExecScope({ kind: 'nested' }, input).then(
      () => 'opened',
      (thrown: unknown) => (thrown as { code?: string }).code,
    );
    assert.equal(await asked, 'RUNTIME_EXEC_SCOPE_FAILED');
  } finally {
    held.release();
  }
});

test('while their folder cannot be read, the commands of an earlier daemon are unknown and do not count as absent', async () => {
  const container = { id: 'c1', init: undefined, takesCgroup: false, isShim: false };
  const dir = join(folder, 'container');
  await endLeftoverExecs({ kind: 'none' }, { ...container, dir });
  symlinkSync(dir, dir);
  await assert.rejects(endLeftoverExecs({ kind: 'none' }, { ...container, dir }), { code: 'ELOOP' });
});

test('AppArmor profiles that cannot be listed are unknown and do not count as missing', async () => {
  const appArmor = await openAppArmor({ enabled: true, stateDir: folder, startProgram: () => assert.fail() });
  const held = holdDescriptors();
  try {
    held.fill();
    await assert.rejects(appArmor.label({ type: 'Localhost', name: 'one' }, undefined), { code: 'EMFILE' });
  } finally {
    held.release();
  }
});

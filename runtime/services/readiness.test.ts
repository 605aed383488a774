import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { findObstacle } from './readiness.ts';

describe('obstacles that keep every pod or container from starting', () => {
  let folder = '';
  let conmon = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-ready-'));
    conmon = join(folder, 'conmon');
    writeFileSync(conmon, '', { mode: 0o755 });
  });
  after(() => rmSync(folder, { recursive: true }));

  it('a node without them has none', async () => {
    assert.equal(await findObstacle(conmon), undefined);
  });

  it('a read-only /proc/sys is one, until it is writable again', async () => {
    execFileSync('mount', ['--bind', '/proc/sys', '/proc/sys']);
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', '/proc/sys']);
      const found = await findObstacle(conmon);
      assert.equal(found?.reason, 'ReadOnlySysctls');
      assert.match(found.message, /^no pod can start: \/proc\/sys is read-only \(EROFS\)/);
    } finally {
      execFileSync('umount', ['/proc/sys']);
    }
    assert.equal(await findObstacle(conmon), undefined);
  });

  it('a monitor that is missing or not executable is one', async () => {
    assert.equal((await findObstacle(join(folder, 'absent')))?.reason, 'MonitorMissing');
    chmodSync(conmon, 0o644);
    const found = await findObstacle(conmon);
    assert.equal(found?.reason, 'MonitorMissing');
    assert.ok(found.message.includes(`${conmon} is missing or not executable (EACCES)`), found.message);
  });

  it('a kernel without the sysctl is none', async () => {
    chmodSync(conmon, 0o755);
    assert.equal(await findObstacle(conmon, join(folder, 'no-sysctl')), undefined);
  });
});

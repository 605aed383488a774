import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Failure } from '../../base/errors/index.ts';
import { findObstacle, seldom } from './readiness.ts';

const writes = (): Promise<undefined> => Promise.resolve(undefined);

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
    assert.equal(await findObstacle(conmon, writes), undefined);
  });

  it('a read-only /proc/sys is one, until it is writable again', async () => {
    execFileSync('mount', ['--bind', '/proc/sys', '/proc/sys']);
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', '/proc/sys']);
      const found = await findObstacle(conmon, writes);
      assert.equal(found?.reason, 'ReadOnlySysctls');
      assert.match(found.message, /^no pod can start: \/proc\/sys is read-only \(EROFS\)/);
    } finally {
      execFileSync('umount', ['/proc/sys']);
    }
    assert.equal(await findObstacle(conmon, writes), undefined);
  });

  it('a monitor that is missing or not executable is one', async () => {
    assert.equal((await findObstacle(join(folder, 'absent'), writes))?.reason, 'MonitorMissing');
    chmodSync(conmon, 0o644);
    const found = await findObstacle(conmon, writes);
    assert.equal(found?.reason, 'MonitorMissing');
    assert.ok(found.message.includes(`${conmon} is missing or not executable (EACCES)`), found.message);
  });

  it('a kernel without the sysctl is none', async () => {
    chmodSync(conmon, 0o755);
    assert.equal(await findObstacle(conmon, writes, join(folder, 'no-sysctl')), undefined);
  });

  it('a full disk and a slow one are none: both pass without a change of the node', async () => {
    const full = {
      code: 'STORAGE_DISK_FULL',
      kind: 'exhausted',
      attempted: 'write',
      on: 'x',
      why: 'y',
      fix: 'z',
    };
    const refuses = (): Promise<never> => Promise.reject(new PortcullisError(full as Failure));
    assert.equal(await findObstacle(conmon, refuses), undefined);
    const alive = setInterval(() => undefined, 1_000);
    assert.equal(await findObstacle(conmon, () => new Promise(() => undefined)), undefined);
    clearInterval(alive);
  });
});

describe('the write that a status makes', () => {
  /** Ten requests, each 5 s after the one before. @returns when the database was written, in s */
  async function writtenAt(fails: (second: number) => boolean, always = false): Promise<number[]> {
    const written: number[] = [];
    let second = 0;
    const write = seldom(
      async () => {
        written.push(second);
        if (fails(second)) throw new Error('the disk fails');
      },
      'state.db',
      () => second * 1_000,
    );
    for (; second < 50; second += 5) await write(always).catch(() => undefined);
    return written;
  }

  it('is repeated after 30 s', async () => {
    assert.deepEqual(await writtenAt(() => false), [0, 30]);
  });

  it('is repeated for each verbose status', async () => {
    assert.equal((await writtenAt(() => false, true)).length, 10);
  });

  it('is not repeated while the disk hangs, and fails the status when it has hung for 30 s', async () => {
    let [started, second] = [0, 0];
    const disk = Promise.withResolvers<void>();
    const write = seldom(
      async () => {
        started += 1;
        await disk.promise;
      },
      'state.db',
      () => second * 1_000,
    );
    const waiting = [write(false), write(true)];
    second = 30;
    await assert.rejects(write(false), {
      code: 'STORAGE_IO',
      message:
        /^write to database state\.db: a write has not ended for 30 s or longer; check the load of the machine, the disk/u,
    });
    disk.resolve();
    await Promise.all(waiting);
    await write(false);
    assert.equal(started, 1);
  });

  it('is repeated for each status after it failed, until it succeeds', async () => {
    assert.deepEqual(await writtenAt((second) => second > 0 && second < 40), [0, 30, 35, 40]);
  });
});

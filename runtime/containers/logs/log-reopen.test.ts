import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { processIdentity } from '../../../base/process/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import { hostPathsHere } from '../../host-paths/in-process.fixture.ts';
import { reopenLog } from './log-reopen.ts';
import type { ContainerRecord } from '../record.ts';

/**
 * Returns a process that has ended, like the monitor of a container that ended while its log was being
 * reopened.
 */
async function ended(): Promise<ProcessIdentity> {
  const child = spawn('sleep', ['600']);
  const identity = processIdentity(child.pid ?? 0);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.ok(identity);
  return identity;
}

const recordOf = (more: {
  readonly logPath: string;
  readonly monitorLog?: string;
  readonly monitor: ProcessIdentity | undefined;
}): ContainerRecord =>
  ({ id: 'c'.repeat(64), config: { logPath: '0.log' }, ...more }) as unknown as ContainerRecord;

describe('the log of a container whose monitor ends meanwhile', () => {
  const place = (t: TestContext, { bundle }: { readonly bundle: boolean }) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-reopen-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const logs = join(folder, 'logs');
    mkdirSync(logs);
    if (bundle) execFileSync('mkfifo', [join(folder, 'ctl')]);
    return { folder, logs, log: join(logs, '0.log') };
  };

  for (const bundle of [true, false])
    it(`keeps the renamed file, and no other file${bundle ? '' : '; the container was removed'}`, async (t) => {
      const { folder, logs, log } = place(t, { bundle });
      const record = recordOf({ logPath: log, monitor: await ended() });
      writeFileSync(`${log}.20261122-210000`, 'a line\n');
      await assert.rejects(reopenLog(record, folder, hostPathsHere), {
        code: bundle ? 'RUNTIME_LOG_NOT_REOPENED' : 'RUNTIME_CONTAINER_NOT_FOUND',
      });
      assert.deepEqual(readdirSync(logs), ['0.log.20261122-210000'], 'a file was left');
    });

  it('gets its name from the monitor only: who follows it would read a file twice that appears twice', async (t) => {
    const { folder, logs, log } = place(t, { bundle: true });
    const record = recordOf({ logPath: log, monitor: await ended() });
    const watcher = watch(logs);
    t.after(() => watcher.close());
    const seen: unknown[] = [];
    const last = new Promise<void>((resolve) =>
      watcher.on('change', (_, name) => (seen.push(name), name === 'last' && resolve())),
    );
    await assert.rejects(reopenLog(record, folder, hostPathsHere), { code: 'RUNTIME_LOG_NOT_REOPENED' });
    writeFileSync(join(logs, 'last'), '');
    await last;
    assert.ok(seen.includes('0.log.tmp'), String(seen));
    assert.ok(!seen.includes('0.log'), String(seen));
  });

  it('stays unchanged if it was not renamed', async (t) => {
    const { folder, logs, log } = place(t, { bundle: true });
    writeFileSync(log, '');
    const record = recordOf({ logPath: log, monitor: await ended() });
    await assert.rejects(reopenLog(record, folder, hostPathsHere), { code: 'RUNTIME_LOG_NOT_REOPENED' });
    assert.deepEqual(readdirSync(logs), ['0.log']);
    writeFileSync(log, 'a line\n');
    await assert.rejects(reopenLog(record, folder, hostPathsHere), { code: 'RUNTIME_LOG_NOT_REOPENED' });
    assert.equal(readFileSync(log, 'utf8'), 'a line\n');
  });
});

describe('the log of a container whose monitor opens it in a folder of the daemon', () => {
  const place = (t: TestContext) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-reopen-'));
    t.after(() => rmSync(folder, { recursive: true }));
    for (const name of ['logs', 'own']) mkdirSync(join(folder, name));
    execFileSync('mkfifo', [join(folder, 'ctl')]);
    return { folder, log: join(folder, 'logs/0.log'), own: join(folder, 'own/id') };
  };

  it('leaves no file if the monitor ends meanwhile', async (t) => {
    const { folder, log, own } = place(t);
    const monitor = await ended();
    const record = recordOf({ logPath: log, monitorLog: own, monitor });
    writeFileSync(`${log}.rotated`, 'a line\n');
    await assert.rejects(reopenLog(record, folder, hostPathsHere), { code: 'RUNTIME_LOG_NOT_REOPENED' });
    assert.deepEqual(readdirSync(join(folder, 'logs')), ['0.log.rotated']);
    assert.deepEqual(readdirSync(join(folder, 'own')), []);
  });

  it('leaves no file if the monitor reads no requests, and the FIFO is full of them', async (t) => {
    const { folder, log, own } = place(t);
    const record = recordOf({ logPath: log, monitorLog: own, monitor: processIdentity(process.pid) });
    const full = openSync(join(folder, 'ctl'), constants.O_RDWR | constants.O_NONBLOCK);
    t.after(() => closeSync(full));
    for (const size of [4096, 1])
      assert.throws(
        () => {
          for (;;) writeSync(full, 'x'.repeat(size));
        },
        { code: 'EAGAIN' },
      );
    writeFileSync(`${log}.rotated`, 'a line\n');
    await assert.rejects(reopenLog(record, folder, hostPathsHere), { code: 'RUNTIME_LOG_NOT_REOPENED' });
    assert.deepEqual(readdirSync(join(folder, 'logs')), ['0.log.rotated']);
    assert.deepEqual(readdirSync(join(folder, 'own')), []);
  });

  for (const [why, spoil] of [
    ['the folder of the log is gone', (folder: string) => rmdirSync(join(folder, 'logs'))],
    ['a folder is at the path of the log', (folder: string) => mkdirSync(join(folder, 'logs/0.log'))],
  ] as const)
    it(`stays where it is if ${why}: the monitor is not asked`, async (t) => {
      const { folder, log, own } = place(t);
      const monitor = processIdentity(process.pid);
      const record = recordOf({ logPath: log, monitorLog: own, monitor });
      const asked = openSync(join(folder, 'ctl'), constants.O_RDWR | constants.O_NONBLOCK);
      t.after(() => closeSync(asked));
      spoil(folder);
      await assert.rejects(reopenLog(record, folder, hostPathsHere), {
        code: 'RUNTIME_LOG_NOT_REOPENED',
        message: /continues with the old one/u,
      });
      assert.throws(() => readSync(asked, Buffer.alloc(1)), { code: 'EAGAIN' });
      assert.deepEqual(readdirSync(join(folder, 'own')), []);
    });

  for (const isOpen of [true, false])
    it(`leaves files elsewhere unchanged if a pod replaces the folder by a link meanwhile${isOpen ? '; the monitor has the log open' : ''}`, async (t) => {
      const { folder, log, own } = place(t);
      const victim = join(folder, 'victim');
      mkdirSync(victim);
      const names = ['0.log', '0.log.tmp'];
      for (const name of names) writeFileSync(join(victim, name), '', { mode: 0o600 });
      if (isOpen) {
        const fd = openSync(log, 'w');
        t.after(() => closeSync(fd));
      }
      const record = recordOf({ logPath: log, monitorLog: own, monitor: processIdentity(process.pid) });
      // The folder is replaced after the last check of the path.
      const replace = (): void => {
        renameSync(join(folder, 'logs'), join(folder, 'moved'));
        symlinkSync('victim', join(folder, 'logs'));
      };
      const paths: typeof hostPathsHere = {
        ...hostPathsHere,
        setFileMode: async (...asked) => (replace(), hostPathsHere.setFileMode(...asked)),
        moveFile: async (...asked) => {
          await hostPathsHere.moveFile(...asked);
          replace();
        },
      };
      await assert.rejects(reopenLog(record, folder, paths), /ELOOP/);
      assert.deepEqual(readdirSync(victim), names);
      for (const name of names) assert.equal(statSync(join(victim, name)).mode & 0o777, 0o600, name);
    });

  it('is moved to its path if the monitor has made it and ended', async (t) => {
    const { folder, log, own } = place(t);
    writeFileSync(own, 'the last line\n');
    const monitor = await ended();
    const record = recordOf({ logPath: log, monitorLog: own, monitor });
    await reopenLog(record, folder, hostPathsHere);
    assert.equal(readFileSync(log, 'utf8'), 'the last line\n');
  });

  it('replaces no log that has got its name back since an earlier attempt', async (t) => {
    const { folder, log, own } = place(t);
    writeFileSync(log, 'an old line\n');
    writeFileSync(own, 'a new line\n');
    const record = recordOf({ logPath: log, monitorLog: own, monitor: await ended() });
    await reopenLog(record, folder, hostPathsHere);
    assert.equal(readFileSync(log, 'utf8'), 'a new line\n');
    const rotated = readdirSync(join(folder, 'logs')).filter((name) => name !== '0.log');
    assert.equal(rotated.length, 1);
    assert.equal(readFileSync(join(folder, 'logs', rotated[0] ?? ''), 'utf8'), 'an old line\n');
  });

  it('is moved to its path if an earlier attempt ended before that', async (t) => {
    const { folder, log, own } = place(t);
    const fd = openSync(own, 'w');
    t.after(() => closeSync(fd));
    writeSync(fd, 'a new line\n');
    const monitor = processIdentity(process.pid);
    const record = recordOf({ logPath: log, monitorLog: own, monitor });
    await reopenLog(record, folder, hostPathsHere);
    assert.equal(readFileSync(log, 'utf8'), 'a new line\n');
    assert.deepEqual(readdirSync(join(folder, 'own')), []);
    // A repeated request changes nothing.
    await reopenLog(record, folder, hostPathsHere);
    assert.equal(readFileSync(log, 'utf8'), 'a new line\n');
  });
});

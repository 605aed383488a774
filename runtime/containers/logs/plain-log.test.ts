import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { hostPathsHere } from '../../host-paths/in-process.fixture.ts';
import type { ContainerRecord } from '../record.ts';
import { requireLogFolder, requireOpenLog, requirePlainLog } from './plain-log.ts';

const refused = { code: 'RUNTIME_LOG_NOT_PLAIN' };

describe('the log that a monitor has open', () => {
  /** A container whose log has this path below the log folder of its pod. */
  const container = (logPath = '0.log') =>
    ({ config: { logPath }, logPath: join(folder, 'logs', logPath) }) as ContainerRecord;
  let folder = '';
  let log = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-plain-log-'));
    mkdirSync(join(folder, 'real'));
    symlinkSync('real', join(folder, 'logs'));
    log = join(folder, 'logs/0.log');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is accepted, also below a folder that is a link', async () => {
    const fd = openSync(log, 'a');
    try {
      await requirePlainLog(hostPathsHere, log);
      await requireOpenLog(hostPathsHere, container(), process.pid);
    } finally {
      closeSync(fd);
    }
  });

  it('is refused if a link led to another file while the monitor opened it', async () => {
    writeFileSync(join(folder, 'victim'), '');
    symlinkSync('../victim', log);
    const fd = openSync(log, 'a');
    try {
      rmSync(log);
      writeFileSync(log, '');
      await requirePlainLog(hostPathsHere, log);
      await assert.rejects(requireOpenLog(hostPathsHere, container(), process.pid), refused);
    } finally {
      closeSync(fd);
    }
  });

  it('is accepted in a folder below the log folder, and refused if a link is in place of that folder', async () => {
    for (const [name, isLink] of [
      ['main', false],
      ['planted', true],
    ] as const) {
      mkdirSync(join(folder, name));
      if (isLink) symlinkSync(join(folder, name), join(folder, 'real', name));
      else mkdirSync(join(folder, 'real', name));
      const record = container(`${name}/1.log`);
      const fd = openSync(record.logPath, 'a');
      try {
        await requirePlainLog(hostPathsHere, record.logPath);
        const checks = [
          requireLogFolder(hostPathsHere, record),
          requireOpenLog(hostPathsHere, record, process.pid),
        ];
        if (isLink) await Promise.all(checks.map((check) => assert.rejects(check, refused)));
        else await Promise.all(checks);
      } finally {
        closeSync(fd);
      }
    }
  });

  it('is not refused while the monitor ends, which has closed its files by then', async () => {
    // The child has ended, and its parent, which has become another program, does not ask for its exit code.
    const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 600'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [pid] = (await once(parent.stdout, 'data')) as [Buffer];
      const state = (): string => readFileSync(`/proc/${Number(pid)}/stat`, 'utf8');
      while (!state().includes(') Z ')) await pause(5);
      await requireOpenLog(hostPathsHere, container(), Number(pid));
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('is not checked when the monitor has ended, or nothing is there yet', async () => {
    await requireOpenLog(hostPathsHere, container(), 2 ** 30);
    await requirePlainLog(hostPathsHere, log);
    await requirePlainLog(hostPathsHere, join(folder, 'none/0.log'));
  });
});

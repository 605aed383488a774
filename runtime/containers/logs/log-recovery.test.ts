import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { hostPathsHere } from '../../host-paths/in-process.fixture.ts';
import type { ContainerRecord } from '../record.ts';
import { finishReopens } from './log-recovery.ts';

describe('a log that the monitor has reopened and a killed daemon has not moved', () => {
  const place = (t: TestContext) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-recovery-'));
    t.after(() => rmSync(folder, { recursive: true }));
    for (const name of ['logs/main', 'own']) mkdirSync(join(folder, name), { recursive: true });
    const [logPath, monitorLog] = [join(folder, 'logs/main/0.log'), join(folder, 'own/id')];
    writeFileSync(monitorLog, 'the last line\n');
    const container = { config: { logPath: 'main/0.log' }, logPath, monitorLog } as ContainerRecord;
    const recover = () => finishReopens(join(folder, 'own'), [container], hostPathsHere);
    return { folder, logPath, container, recover };
  };

  it('gets its name', async (t) => {
    const { folder, logPath, recover } = place(t);
    assert.deepEqual(await recover(), []);
    assert.deepEqual(await recover(), []);
    assert.equal(readFileSync(logPath, 'utf8'), 'the last line\n');
    assert.deepEqual(readdirSync(join(folder, 'own')), []);
  });

  it('does not replace the rotated file, to which a kubelet has given its name back', async (t) => {
    const { folder, logPath, recover } = place(t);
    writeFileSync(logPath, 'an early line\n');
    assert.deepEqual(await recover(), []);
    const [log = '', rotated = '', ...more] = readdirSync(join(folder, 'logs/main')).sort();
    assert.deepEqual([log, more], ['0.log', []]);
    assert.match(rotated, /^0\.log\.\d{8}-\d{6}$/u);
    assert.equal(readFileSync(logPath, 'utf8'), 'the last line\n');
    assert.equal(readFileSync(join(folder, 'logs/main', rotated), 'utf8'), 'an early line\n');
  });

  it('is reported if a link is in place of its folder, and a log there is left as it is', async (t) => {
    const { folder, logPath, recover } = place(t);
    rmSync(join(folder, 'logs/main'), { recursive: true });
    mkdirSync(join(folder, 'other'));
    writeFileSync(join(folder, 'other/0.log'), 'of another pod\n');
    symlinkSync(join(folder, 'other'), join(folder, 'logs/main'));
    assert.deepEqual(
      (await recover()).map(({ on }) => on),
      [logPath],
    );
    assert.deepEqual(readdirSync(join(folder, 'other')), ['0.log']);
    assert.equal(readFileSync(join(folder, 'other/0.log'), 'utf8'), 'of another pod\n');
  });

  it('is reported if the link appears after the folder was checked', async (t) => {
    const { folder, logPath, container } = place(t);
    mkdirSync(join(folder, 'other'));
    writeFileSync(join(folder, 'other/0.log'), 'of another pod\n');
    const plant = (): void => {
      rmSync(join(folder, 'logs/main'), { recursive: true });
      symlinkSync(join(folder, 'other'), join(folder, 'logs/main'));
    };
    const paths: typeof hostPathsHere = {
      ...hostPathsHere,
      moveFile(from, to) {
        plant();
        return hostPathsHere.moveFile(from, to);
      },
    };
    const unsettled = await finishReopens(join(folder, 'own'), [container], paths);
    assert.deepEqual(
      unsettled.map(({ on }) => on),
      [logPath],
    );
    assert.equal(readFileSync(join(folder, 'other/0.log'), 'utf8'), 'of another pod\n');
  });

  it('is reported if its folder is gone', async (t) => {
    const { folder, logPath, recover } = place(t);
    rmSync(join(folder, 'logs'), { recursive: true });
    assert.deepEqual(
      (await recover()).map(({ on }) => on),
      [logPath],
    );
  });
});

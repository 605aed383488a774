/**
 * Tests the shipped unit on a machine where systemd is process 1: `vm/run vm/under-systemd node --test
 * test/vm/systemd-service.ts`. The file is not called x.test.ts, because `npm test` has no such machine.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createCriClient } from '../../runtime/client.ts';

const repository = join(import.meta.dirname, '../..');
const unit = 'portcullisd.service';
const folder = mkdtempSync(join(tmpdir(), 'pc-unit-'));
const socket = join(folder, 'cri.sock');

function systemctl(...args: string[]): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync('systemctl', args, { encoding: 'utf8' });
  return { status, output: (stdout + stderr).trim() };
}
const property = (name: string): string => systemctl('show', '--value', '-p', name, unit).output;

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; waited < 300_000; waited += 500) {
    if (holds()) return;
    await pause(500);
  }
  assert.fail(`${what}: ${systemctl('status', '--no-pager', unit).output}`);
}

describe('the unit portcullisd.service', () => {
  before(() => {
    const flags = [
      '--socket',
      socket,
      '--root',
      join(folder, 'root'),
      '--state',
      join(folder, 'state'),
      '--cni-conf-dir',
      folder,
    ];
    const command = [join(repository, 'packaging/bin/portcullisd'), ...flags].join(' ');
    const shipped = readFileSync(join(repository, 'packaging/systemd/portcullisd.service'), 'utf8');
    writeFileSync(`/run/systemd/system/${unit}`, shipped.replace('/usr/local/bin/portcullisd', command));
    mkdirSync(`/run/systemd/system/${unit}.d`, { recursive: true });
    // A hung daemon is detected within this time. The machine is slow.
    writeFileSync(
      `/run/systemd/system/${unit}.d/slow.conf`,
      '[Service]\nWatchdogSec=40s\nTimeoutStartSec=10min\n',
    );
    systemctl('daemon-reload');
  });
  after(() => void systemctl('stop', unit));

  it('counts as started once the daemon reports that it is ready', async () => {
    const { status, output } = systemctl('start', unit);
    assert.equal(status, 0, output);
    assert.deepEqual(
      [property('ActiveState'), property('SubState'), property('StatusText')],
      ['active', 'running', 'serving CRI v1'],
    );
    const client = createCriClient(socket);
    assert.equal((await client.runtime.version({})).runtimeName, 'portcullis');
    client.close();
  });

  it('runs while the daemon notifies the watchdog, and reloads', async () => {
    await pause(60_000);
    assert.deepEqual([property('ActiveState'), property('NRestarts')], ['active', '0']);
    assert.equal(systemctl('reload', unit).status, 0);
  });

  it('is restarted when the daemon hangs', async () => {
    const hung = property('MainPID');
    process.kill(Number(hung), 'SIGSTOP');
    await until('no restart', () => property('NRestarts') === '1' && property('ActiveState') === 'active');
    assert.notEqual(property('MainPID'), hung);
    assert.equal(property('StatusText'), 'serving CRI v1');
  });

  it('stops cleanly', () => {
    assert.equal(systemctl('stop', unit).status, 0);
    assert.deepEqual([property('ActiveState'), property('Result')], ['inactive', 'success']);
  });
});

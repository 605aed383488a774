import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

describe('SIGHUP', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-reload-'));
  const configFile = join(folder, 'config.yaml');
  let stage: Stage;
  before(async () => {
    writeFileSync(configFile, 'registries: { insecure: [] }\n');
    stage = await openStage({ flags: ['--config', configFile] });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  const restartNeeded = 'these options have changed, and apply when the daemon is restarted';
  /** Returns the lines of the log that follow a reload with this configuration. */
  const reload = async (text: string, until: RegExp): Promise<string> => {
    const from = stage.daemon.log().length;
    writeFileSync(configFile, text);
    await stage.daemon.reload();
    for (let waited = 0; !until.test(stage.daemon.log().slice(from)); waited += 20) {
      assert.ok(waited < 60_000, stage.daemon.log().slice(from));
      await pause(20);
    }
    return stage.daemon.log().slice(from);
  };

  it('names the changed options that apply only at the next start, without their values', async () => {
    const text =
      'registries: { insecure: [secret.test] }\nmetrics: { address: "127.0.0.1:1" }\nimages: { pinned: [a] }\n';
    const said = await reload(text, new RegExp(restartNeeded, 'u'));
    const line = said.split('\n').find((each) => each.includes(restartNeeded)) ?? '';
    const { options, level } = JSON.parse(line) as { options: string[]; level: number };
    assert.deepEqual([options, level], [['metrics.address', 'registries.insecure'], 40]);
    assert.doesNotMatch(said, /secret\.test/u);
  });

  it('names nothing if the file is again as it was at the start', async () => {
    const from = stage.daemon.log().length;
    await reload('registries: { insecure: [] }\n', /pinned images were read again/u);
    await stage.daemon.reload();
    assert.doesNotMatch(stage.daemon.log().slice(from), new RegExp(restartNeeded, 'u'));
  });

  it('does not end a daemon that is starting, and is served when the daemon is ready', async () => {
    const root = join(stage.folders.root, 'state.db');
    await stage.daemon.stop();
    const { folders } = stage;
    const daemon = spawn(
      join(import.meta.dirname, '../../packaging/bin/portcullisd'),
      [
        ...['--root', folders.root, '--state', folders.state, '--socket', folders.socket],
        ...['--policy', folders.policy, '--cni-conf-dir', folders.cniConf, '--cgroup-driver', 'cgroupfs'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const exited = once(daemon, 'exit') as Promise<[number | null]>;
    let log = '';
    daemon.stderr.on('data', (bytes: Buffer) => (log += bytes.toString()));
    const until = async (isDone: () => boolean): Promise<void> => {
      for (let waited = 0; !isDone(); waited += 5) {
        assert.ok(waited < 60_000 && daemon.exitCode === null && daemon.signalCode === null, log);
        await pause(5);
      }
    };
    // The write-ahead log of the database exists only while a daemon runs.
    await until(() => existsSync(`${root}-wal`));
    assert.doesNotMatch(log, /serving CRI/u);
    daemon.kill('SIGHUP');
    await until(() => /"cause":"signal"/u.test(log) && /serving CRI/u.test(log));
    daemon.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
    await stage.restart({ kill: true });
  });
});

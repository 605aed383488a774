import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { cgroupsBelow } from './cleanup.ts';

const command = join(import.meta.dirname, '../../packaging/bin/portcullis');

/** Returns the folders and cgroups of any quickstart. */
function all(): string[] {
  return [
    ...readdirSync(tmpdir()).filter((name) => name.startsWith('portcullis-quickstart-')),
    ...cgroupsBelow('/portcullis-quickstart-*'),
  ];
}

/** Another run that was killed may have left some. */
const before = new Set(all());
const remains = (): string[] => all().filter((name) => !before.has(name));

describe('portcullis quickstart', () => {
  it('runs the whole demonstration, every step passes, and nothing is left', () => {
    const run = spawnSync(command, ['quickstart'], { encoding: 'utf8', timeout: 240_000 });
    assert.equal(run.status, 0, run.stdout + run.stderr);
    assert.match(run.stdout, /all \d+ steps succeeded/);
    assert.equal(run.stderr, '');
    assert.deepEqual(remains(), []);
  });

  it('names the packages that are missing before it starts anything', () => {
    const program = `for name in ip nft; do mount --bind /dev/null "$(readlink -f "$(command -v $name)")"; done
exec "$0" quickstart`;
    const run = spawnSync('unshare', ['--mount', 'sh', '-euc', program, command], { encoding: 'utf8' });
    assert.equal(run.status, 4, run.stdout + run.stderr);
    assert.equal(run.stdout, '');
    assert.match(run.stderr, /lacks nftables, iproute2; .*doctor --fix.*\[CLI_PROGRAMS_MISSING\]/u);
  });

  it('says that the folder for temporary files does not exist', () => {
    const environment = { ...process.env, TMPDIR: '/none/tmp' };
    const run = spawnSync(command, ['quickstart'], { encoding: 'utf8', env: environment });
    assert.equal(run.status, 4, run.stdout + run.stderr);
    assert.match(
      run.stderr,
      /^portcullis: create a folder for temporary files in \/none\/tmp: it does not exist; .*\n$/u,
    );
  });

  it('cleans up when it is interrupted in the middle', async () => {
    const child = spawn(command, ['quickstart'], { stdio: ['ignore', 'pipe', 'pipe'] });
    const exited = once(child, 'exit') as Promise<[number | null]>;
    const errors = text(child.stderr);
    let output = '';
    for await (const chunk of child.stdout) {
      const seen = output.includes('RunPodSandbox');
      output += String(chunk);
      if (!seen && output.includes('RunPodSandbox')) child.kill('SIGINT');
    }
    assert.deepEqual(await exited, [130, null]);
    assert.match(output, /interrupted; removing everything that the quickstart created\n$/);
    assert.doesNotMatch(output, /failed/);
    assert.equal(await errors, '');
    assert.deepEqual(remains(), []);
  });

  it('--keep leaves the endpoint serving, and says how to end it', async () => {
    const run = spawnSync(command, ['quickstart', '--keep'], { encoding: 'utf8', timeout: 240_000 });
    assert.equal(run.status, 0, run.stdout + run.stderr);
    const socket = /CONTAINER_RUNTIME_ENDPOINT=unix:\/\/(\S+)/.exec(run.stdout)?.[1] ?? '';
    const pid = Number(/^ *kill (\d+)/m.exec(run.stdout)?.[1]);
    const listed = spawnSync(command, ['ps', '--socket', socket], { encoding: 'utf8' });
    process.kill(pid, 'SIGTERM');
    for (let waited = 0; waited < 1_200 && remains().length > 0; waited++) await pause(50);
    assert.match(listed.stdout, /running +server/);
    assert.deepEqual(remains(), []);
  });
});

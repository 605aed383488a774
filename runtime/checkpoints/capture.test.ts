import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import { processesWithArgument } from '../processes/processes.ts';
import { endCapture, runScript } from './capture.ts';
import { captureScript } from './capture-script.ts';

/** A program with runc's commands, which records its calls; `checkpoint` runs the script FOLDER/act. */
const program = `#!/bin/sh
echo "$3 $4" >> "$2/calls"
[ "$3" != checkpoint ] || . "$2/act"
`;

/** Waits for processes that were killed and may still be ending. */
async function untilGone(argument: string): Promise<void> {
  for (const end = Date.now() + 10_000; processesWithArgument(argument).length > 0; await sleep(20))
    assert.ok(Date.now() < end, `a process with the argument ${argument} is left`);
}

describe('the capture of a container', () => {
  let kernel: Kernel;
  let reactor: Reactor;
  let folder = '';
  before(async () => {
    [kernel, reactor] = await Promise.all([startKernelWorker(), startReactor()]);
  });
  after(async () => {
    await reactor.close();
    await kernel.close();
  });
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-capture-'));
    writeFileSync(join(folder, 'program'), program, { mode: 0o755 });
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const run = (act: string, limit: () => Promise<string | undefined> = () => Promise.resolve(undefined)) => {
    writeFileSync(join(folder, 'act'), act);
    return runScript({
      startProgram: programStarter(reactor, kernel),
      script: captureScript,
      folder,
      args: [join(folder, 'program'), folder, 'id', '', '100'],
      output: null,
      limit,
    });
  };
  const calls = (): string[] =>
    readFileSync(join(folder, 'calls'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[0] ?? '');

  it('freezes, writes and thaws', async () => {
    assert.deepEqual(await run('exit 0'), { exitCode: 0, ended: undefined });
    assert.deepEqual(calls(), ['pause', 'checkpoint', 'resume']);
  });

  it('gives a separate OOM score to the programs that need memory, but not to the script that thaws', async () => {
    await run('cat /proc/self/oom_score_adj > "$2/score"; cat "/proc/$PPID/oom_score_adj" > "$2/above"');
    assert.equal(readFileSync(join(folder, 'score'), 'utf8').trim(), '900');
    const above = Number(readFileSync(join(folder, 'above'), 'utf8'));
    assert.ok(above < 900, String(above));
  });

  it('thaws when the runtime fails', async () => {
    assert.deepEqual(await run('echo no >&2; exit 1'), { exitCode: 11, ended: undefined });
    assert.deepEqual(calls(), ['pause', 'checkpoint', 'resume']);
    assert.match(readFileSync(join(folder, 'messages'), 'utf8'), /no/);
  });

  it('thaws, and says which step failed, if no file can be created, as on a full disk', async () => {
    assert.deepEqual(await run('mkdir "$2/ending"; exit 1'), { exitCode: 11, ended: undefined });
    assert.deepEqual(calls(), ['pause', 'checkpoint', 'resume']);
  });

  it('thaws when the runtime does not end, and is ended by a limit', async () => {
    const begin = Date.now();
    // No other process of the machine has this argument.
    const seconds = `600.0${process.pid}`;
    const ran = await run(`sleep ${seconds}`, () =>
      Promise.resolve(Date.now() > begin + 300 ? 'late' : undefined),
    );
    assert.equal(ran.ended, 'late');
    assert.deepEqual(calls(), ['pause', 'checkpoint', 'resume']);
    await untilGone(seconds);
  });

  it('ends also programs that the script begins after the limit was exceeded', async () => {
    const [first, second] = [`600.1${process.pid}`, `600.2${process.pid}`];
    const ran = await runScript({
      startProgram: programStarter(reactor, kernel),
      script: 'sleep "$1"; sleep "$2"; exit 3',
      folder,
      args: [first, second],
      output: null,
      limit: () => Promise.resolve('late'),
    });
    assert.deepEqual(ran, { exitCode: 3, ended: 'late' });
    await untilGone(second);
  });

  it('ends a runtime that does not thaw', async () => {
    const seconds = `600.3${process.pid}`;
    writeFileSync(join(folder, 'program'), `#!/bin/sh\n[ "$3" != resume ] || sleep ${seconds}\n`);
    const ran = await run('exit 0', () =>
      Promise.resolve(existsSync(join(folder, 'ending')) ? 'late' : undefined),
    );
    assert.equal(ran.ended, 'late');
    await untilGone(seconds);
  });

  it('ends the runtime of a script that was killed', async () => {
    const ran = await run('kill -9 "$PPID"; while true; do sleep 0.1; done');
    assert.equal(ran.ended, undefined);
    await untilGone(join(folder, 'checkpoint'));
  });

  it('thaws when the next daemon ends it', async () => {
    const running = run('sleep 601');
    while (!existsSync(join(folder, 'calls')) || !calls().includes('checkpoint')) await sleep(20);
    await endCapture(folder);
    assert.equal((await running).exitCode, 11);
    assert.deepEqual(calls(), ['pause', 'checkpoint', 'resume']);
    await untilGone(folder);
  });

  it('keeps changed files without devices, whatever their names are', async () => {
    const layer = join(folder, 'layer');
    spawnSync('sh', [
      '-c',
      'mkdir -p "$0/d" && echo x > "$0/d/-C" && echo y > "$0/new\nline" && ln -s /etc/shadow "$0/link" && mknod "$0/gone" c 0 0 && mknod "$0/disk" b 7 0',
      layer,
    ]);
    writeFileSync(join(folder, 'act'), 'exit 0');
    const ran = await runScript({
      startProgram: programStarter(reactor, kernel),
      script: captureScript,
      folder,
      args: [join(folder, 'program'), folder, 'id', layer, '1000'],
      output: null,
      limit: () => Promise.resolve(undefined),
    });
    assert.equal(ran.exitCode, 0);
    const list = spawnSync('tar', ['-tf', join(folder, 'rootfs-diff.tar')], { encoding: 'utf8' }).stdout;
    assert.deepEqual(list.trim().split('\n').sort(), ['./', './d/', './d/-C', './link', './new\\nline']);
    assert.equal(readFileSync(join(folder, 'devices'), 'utf8'), '0:0 ./gone\0');
  });

  it('ends when the changed files are larger than allowed', async () => {
    const layer = join(folder, 'layer');
    spawnSync('sh', ['-c', 'mkdir "$0" && head -c 200000 /dev/zero | tr "\\0" x > "$0/large"', layer]);
    writeFileSync(join(folder, 'act'), 'exit 0');
    const ran = await runScript({
      startProgram: programStarter(reactor, kernel),
      script: captureScript,
      folder,
      args: [join(folder, 'program'), folder, 'id', layer, '100'],
      output: null,
      limit: () => Promise.resolve(undefined),
    });
    assert.equal(ran.exitCode, 12);
    assert.deepEqual(calls(), ['pause', 'checkpoint', 'resume']);
  });
});

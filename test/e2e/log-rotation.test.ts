import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { hostPathsHere } from '../../runtime/host-paths/in-process.fixture.ts';
import { createLogRotation } from '../../runtime/containers/logs/log-rotation.ts';
import type { ContainerRecord } from '../../runtime/containers/record.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const crictl = findTool('crictl');
const count = 200_000;
/**
 * Writes numbered lines as fast as possible, with forty short pauses, so that rotations happen between and
 * within bursts: without them, all lines can be written before a busy machine rotates the log twice.
 */
const writer = `awk 'BEGIN { for (i = 1; i <= ${count}; i++) { printf "line %06d of a log that is written fast\\n", i; if (i % 5000 == 0) system("sleep 0.05") } }'`;

/** Returns the output of the container from the files of a log in order, with partial lines (P) joined. */
function written(files: readonly string[]): string[] {
  let open = '';
  const lines: string[] = [];
  for (const line of files.flatMap((file) => readFileSync(file, 'utf8').split('\n').slice(0, -1))) {
    const found = /^\S+ std(?:out|err) ([FP]) (.*)$/.exec(line);
    assert.ok(found, `an incomplete line: ${JSON.stringify(line.slice(0, 200))}`);
    open += found[2] ?? '';
    if (found[1] === 'P') continue;
    lines.push(open);
    open = '';
  }
  assert.equal(open, '');
  return lines;
}

function assertWhole(lines: readonly string[]): void {
  assert.equal(lines.length, count, 'every line');
  const bad = lines.findIndex(
    (line, at) => line !== `line ${String(at + 1).padStart(6, '0')} of a log that is written fast`,
  );
  assert.equal(bad, -1, `in order and whole: ${lines[bad] ?? ''}`);
}

/** Returns the rotated files, oldest first. */
function asides(log: string): string[] {
  return readdirSync(dirname(log))
    .filter((name) => name.startsWith('0.log.'))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .map((name) => join(dirname(log), name));
}

/** Waits until the last line of the writer is in the log or in a rotated file. */
async function hasLastLine(log: string): Promise<void> {
  const last = `line ${count} of`;
  while (![...asides(log), log].some((file) => readFileSync(file).includes(last))) await pause(100);
}

describe('the log of a fast writer', () => {
  let stage: Stage;
  let image = '';
  let pod: Pod;
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'logs');
  });
  after(() => stage.close());
  const create = async (name: string, command: string): Promise<{ id: string; log: string }> => {
    const id = await createContainer(stage, pod, { name, image, command: ['sh', '-c', command] });
    return { id, log: join(pod.config.logDirectory ?? '', name, '0.log') };
  };
  const start = (containerId: string) => stage.daemon.cri.runtime.startContainer({ containerId });
  const reopen = (containerId: string) => stage.daemon.cri.runtime.reopenContainerLog({ containerId });

  it('has every line complete after a kubelet rotated it twenty times', async () => {
    const { id, log } = await create('kubelet', `sleep 0.3; ${writer}; sleep 600`);
    await start(id);
    while (statSync(log).size === 0) await pause(5);
    for (let rotation = 10; rotation < 30; rotation += 1) {
      renameSync(log, `${log}.${rotation}`);
      await pause(rotation % 4);
      await reopen(id);
      await pause(10);
    }
    await hasLastLine(log);
    assertWhole(written([...asides(log), log]));
    assert.ok(asides(log).filter((file) => statSync(file).size > 0).length > 2, 'the writer wrote meanwhile');
  });

  it('keeps its lines when the container is removed during a rotation, and no partial file remains', async () => {
    const { runtime } = stage.daemon.cri;
    const removed = await runPod(stage, 'removed');
    for (let round = 0; round < 12; round += 1) {
      const id = await createContainer(stage, removed, {
        name: `r${round}`,
        image,
        command: ['sh', '-c', 'echo one; sleep 600'],
      });
      const log = join(removed.config.logDirectory ?? '', `r${round}`, '0.log');
      await start(id);
      while (!readFileSync(log, 'utf8').includes('one')) await pause(5);
      renameSync(log, `${log}.1`);
      const reopened = reopen(id).catch(async () => {
        // Like a kubelet, so that it can retry.
        renameSync(`${log}.1`, log);
      });
      await pause(round * 3);
      await Promise.all([reopened, runtime.removeContainer({ containerId: id })]);
      const kept = readdirSync(dirname(log)).sort();
      assert.ok(['0.log', '0.log 0.log.1'].includes(kept.join(' ')), `round ${round}: ${kept.join(' ')}`);
      assert.deepEqual(written(kept.map((name) => join(dirname(log), name))), ['one']);
    }
    assert.deepEqual((await runtime.listContainers({ filter: { podSandboxId: removed.id } })).containers, []);
    await removePod(stage, removed);
  });

  it('loses nothing when it is reopened although the file was not renamed', async () => {
    const { id, log } = await create('again', 'echo one; sleep 1; echo two; sleep 600');
    await start(id);
    while (!readFileSync(log, 'utf8').includes('one')) await pause(5);
    await reopen(id);
    while (!readFileSync(log, 'utf8').includes('two')) await pause(20);
    assert.deepEqual(written([log]), ['one', 'two']);
  });

  for (const stdin of [false, true])
    it(`keeps its lines when its monitor${stdin ? ', with input,' : ''} is stopped during a rotation`, async () => {
      const name = `stopped-${stdin}`;
      const command = ['sh', '-c', 'echo one; until [ -e /go ]; do sleep 0.1; done; echo two; sleep 600'];
      const id = await createContainer(stage, pod, { name, image, command, more: { stdin } });
      const log = join(pod.config.logDirectory ?? '', name, '0.log');
      await start(id);
      while (!readFileSync(log, 'utf8').includes('one')) await pause(5);
      const monitor = Number(
        readFileSync(join(stage.folders.state, 'containers', id, 'monitor.pid'), 'utf8'),
      );
      process.kill(monitor, 'SIGSTOP');
      try {
        for (let attempt = 0; attempt < 2; attempt += 1) {
          renameSync(log, `${log}.1`);
          await assert.rejects(reopen(id), { code: 'RUNTIME_LOG_NOT_REOPENED' });
          // Like a kubelet, so that it can retry.
          renameSync(`${log}.1`, log);
        }
      } finally {
        process.kill(monitor, 'SIGCONT');
      }
      await execute(stage, id, 'touch', '/go');
      const lines = (): string[] => written([...asides(log), log]);
      while (!lines().includes('two')) await pause(20);
      assert.deepEqual(lines(), ['one', 'two']);
    });

  it('keeps the newest files when the daemon rotates it, without a kubelet', async () => {
    const { id, log } = await create('ours', `${writer}; sleep 600`);
    const record = {
      id,
      phase: 'running',
      logPath: log,
      config: { logPath: 'ours/0.log' },
    } as ContainerRecord;
    const rotation = createLogRotation({
      maxSize: '64Ki',
      maxFiles: 4,
      containers: () => [record],
      reopen: async (containerId) => void (await reopen(containerId)),
      log: createLogger({ level: 'silent' }),
      paths: hostPathsHere,
    });
    await start(id);
    for (let sweep = 0; sweep < 12; sweep += 1) {
      await rotation.sweep();
      await pause(20);
    }
    rotation.close();
    await hasLastLine(log);
    assert.equal(asides(log).length, 3);
    const lines = written([...asides(log), log]);
    // conmon writes data as it reads them: the oldest file can begin within a line whose first part was in
    // the removed file.
    const second = Number(/line (\d+)/.exec(lines[1] ?? '')?.[1]);
    assert.equal(lines.length, count - second + 2, 'the kept files have no gap, and end with the last line');
  });

  it('is followed by crictl logs -f into the new file', { skip: crictl.skip }, async () => {
    const { id, log } = await create(
      'followed',
      'for i in 1 2 3 4 5 6 7 8 9; do echo part $i; sleep 0.3; done; sleep 0.5',
    );
    await start(id);
    const follower = spawn(
      crictl.path,
      ['--runtime-endpoint', `unix://${stage.folders.socket}`, 'logs', '-f', id],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let text = '';
    follower.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const ended = new Promise((resolve) => follower.once('close', resolve));
    for (const number of [2, 5]) {
      while (!text.includes(`part ${number}`)) await pause(20);
      renameSync(log, `${log}.${number}`);
      await reopen(id);
    }
    await exitOf(stage, id);
    const timer = setTimeout(() => follower.kill(), 15_000);
    await ended;
    clearTimeout(timer);
    assert.deepEqual(
      text.split('\n').filter((line) => line !== ''),
      [1, 2, 3, 4, 5, 6, 7, 8, 9].map((number) => `part ${number}`),
    );
  });
});

describe('configured log rotation', () => {
  it('needs no request', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-logs-'));
    writeFileSync(join(folder, 'config.yaml'), 'logs: { maxSize: "1Ki", maxFiles: 2 }\n');
    const stage = await openStage({ flags: ['--config', join(folder, 'config.yaml')] });
    try {
      const image = await stage.pull((await stage.publish('app/a:1')).reference);
      const pod = await runPod(stage, 'configured');
      const id = await createContainer(stage, pod, { image, command: ['sh', '-c', 'seq 1 500; sleep 600'] });
      await stage.daemon.cri.runtime.startContainer({ containerId: id });
      const log = join(pod.config.logDirectory ?? '', 'main', '0.log');
      const until = performance.now() + 25_000;
      // Renamed, and recreated by the monitor a moment later.
      while ((asides(log).length === 0 || !existsSync(log)) && performance.now() < until) await pause(50);
      assert.equal(written([...asides(log), log]).length, 500);
      await removePod(stage, pod);
    } finally {
      await stage.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('a log that cannot be reopened', () => {
  let stage: Stage;
  let disk = '';
  let pod: Pod;
  let id = '';
  let log = '';
  before(async () => {
    stage = await openStage();
    disk = join(stage.folders.folder, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,nr_inodes=16', 'none', disk]);
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'refused', { logDirectory: disk });
    log = join(disk, 'main/0.log');
    id = await runContainer(stage, pod, {
      image,
      command: [
        'sh',
        '-c',
        'trap "exit 7" TERM; i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done',
      ],
    });
  });
  after(async () => {
    await removePod(stage, pod);
    execFileSync('umount', ['--lazy', disk]);
    await stage.close();
  });
  const reopen = (): Promise<unknown> => stage.daemon.cri.runtime.reopenContainerLog({ containerId: id });
  const fill = (): void => {
    for (let number = 0; ; number += 1)
      try {
        writeFileSync(join(disk, `fill-${number}`), '');
      } catch (thrown) {
        assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
        return;
      }
  };
  const expectMonitored = async (): Promise<void> => {
    assert.equal((await execute(stage, id, 'true')).exitCode, 0);
    assert.doesNotMatch(stage.daemon.log(), /the monitor of a running container has ended/);
  };

  it('stays in the old file on a file system without space for a new file', async () => {
    fill();
    renameSync(log, `${log}.1`);
    const failure = await failureOf(reopen());
    assert.deepEqual(
      [failure.code, failure.kind],
      ['RUNTIME_LOG_NOT_REOPENED', 'exhausted'],
      failure.message,
    );
    assert.match(failure.message, /no space left on device/);
    assert.deepEqual(readdirSync(dirname(log)), ['0.log.1']);
    const { size } = statSync(`${log}.1`);
    while (statSync(`${log}.1`).size === size) await pause(20);
    await expectMonitored();
    unlinkSync(join(disk, 'fill-0'));
    unlinkSync(join(disk, 'fill-1'));
    await reopen();
    while (statSync(log).size === 0) await pause(20);
    assert.deepEqual(readdirSync(dirname(log)).sort(), ['0.log', '0.log.1']);
  });

  it('does not end the monitor, which reports the exit code, also when its folder is gone or its name is used', async () => {
    // It keeps removed files open.
    for (const name of readdirSync(disk).filter((entry) => entry.startsWith('fill-')))
      unlinkSync(join(disk, name));
    rmSync(dirname(log), { recursive: true });
    assert.equal((await failureOf(reopen())).code, 'RUNTIME_LOG_NOT_REOPENED');
    mkdirSync(log, { recursive: true });
    assert.equal((await failureOf(reopen())).code, 'RUNTIME_LOG_NOT_REOPENED');
    rmdirSync(log);
    execFileSync('mkfifo', [`${log}.tmp`]);
    assert.equal((await failureOf(reopen())).code, 'RUNTIME_LOG_NOT_REOPENED');
    await expectMonitored();
    unlinkSync(`${log}.tmp`);
    await reopen();
    while (statSync(log).size === 0) await pause(20);
    await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 10 });
    const { exitCode, reason } = await exitOf(stage, id);
    assert.deepEqual([exitCode, reason], [7, 'Error']);
  });
});

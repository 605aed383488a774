import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { holdDescriptors } from './descriptors.fixture.ts';
import { withoutFirstThread } from './first-thread.fixture.ts';
import { currentBootId, processIdentity, sameProcess, startWorker } from './index.ts';

describe('the identity of a process', () => {
  it('is constant for this process', async () => {
    const mine = processIdentity(process.pid);
    assert.ok(mine !== undefined);
    assert.deepEqual([mine.pid, mine.bootId], [process.pid, currentBootId()]);
    await sleep(20);
    assert.ok(sameProcess(mine));
  });

  it('is not shared with another start or another boot of the same pid', () => {
    const mine = processIdentity(process.pid);
    assert.ok(mine !== undefined);
    assert.ok(!sameProcess({ ...mine, startTime: '1' }));
    assert.ok(!sameProcess({ ...mine, bootId: 'another' }));
    assert.equal(processIdentity(0x7ffffffe), undefined);
  });

  it('is unknown while it cannot be read, and the process does not count as ended', () => {
    const mine = processIdentity(process.pid);
    assert.ok(mine !== undefined);
    const descriptors = holdDescriptors();
    try {
      descriptors.fill();
      assert.throws(() => sameProcess(mine), { code: 'PROCESS_UNREADABLE', kind: 'exhausted' });
      assert.throws(
        () => processIdentity(0x7ffffffe),
        { code: 'PROCESS_UNREADABLE' },
        'also for a pid that no process has',
      );
    } finally {
      descriptors.release();
    }
    assert.ok(sameProcess(mine));
  });

  it('ends with the process, before its parent has waited for it', async () => {
    // The shell never waits for its child, so the child is a zombie while the shell sleeps.
    const shell = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 20'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [chunk] = (await once(shell.stdout, 'data')) as [Buffer];
    const pid = Number(chunk.toString());
    const child = processIdentity(pid);
    assert.ok(child !== undefined && sameProcess(child));
    for (let waited = 0; waited < 3_000 && processIdentity(pid) !== undefined; waited++) await sleep(20);
    assert.equal(processIdentity(pid), undefined);
    assert.ok(!sameProcess(child));
    shell.kill('SIGKILL');
    await once(shell, 'exit');
  });

  it('lasts until the last thread of the process has ended, although its first thread ended before', async () => {
    using started = await withoutFirstThread();
    const { child, identity } = started;
    assert.deepEqual(processIdentity(identity.pid), identity);
    assert.ok(sameProcess(identity));
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.ok(!sameProcess(identity));
  });

  it('is read correctly if the command name has blanks and parentheses', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-process-'));
    try {
      const name = join(folder, 'a) S 1 (b');
      symlinkSync('/bin/sleep', name);
      const child = spawn(name, ['2'], { stdio: 'ignore' });
      await once(child, 'spawn');
      const plain = spawn('/bin/sleep', ['2'], { stdio: 'ignore' });
      await once(plain, 'spawn');
      const [odd, even] = [child, plain].map(({ pid }) => Number(processIdentity(pid ?? 0)?.startTime));
      assert.ok(odd !== undefined && even !== undefined && Math.abs(even - odd) < 100, `${odd} and ${even}`);
      for (const one of [child, plain]) {
        one.kill('SIGKILL');
        await once(one, 'exit');
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('a Worker', () => {
  it('is found beside its source, and in workers/ beside a bundle', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-worker-'));
    try {
      const answer = (text: string): string =>
        `import { parentPort, workerData, threadId } from 'node:worker_threads'; parentPort.postMessage('${text} ' + workerData);`;
      writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
      writeFileSync(join(folder, 'echo.worker.ts'), answer('source'));
      mkdirSync(join(folder, 'workers'));
      writeFileSync(join(folder, 'workers', 'echo.worker.js'), answer('bundle'));
      for (const [module, expected] of [
        ['room.ts', 'source 7'],
        ['daemon.js', 'bundle 7'],
      ] as const) {
        const worker = startWorker(pathToFileURL(join(folder, module)).href, './echo.worker.ts', {
          workerData: 7,
        });
        const [message] = (await once(worker, 'message')) as [string];
        assert.equal(message, expected);
        await worker.terminate();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('starts under a program given by -e', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-worker-'));
    try {
      writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
      writeFileSync(join(folder, 'hello.worker.ts'), "process.stdout.write('hello');");
      const program = `import { startWorker } from ${JSON.stringify(import.meta.resolve('./index.ts'))}; startWorker(${JSON.stringify(pathToFileURL(join(folder, 'x.ts')).href)}, './hello.worker.ts');`;
      const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      await once(child, 'close');
      assert.equal(output, 'hello');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

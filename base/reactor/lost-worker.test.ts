import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';
import { after, before, test } from 'node:test';
import workerThreads from 'node:worker_threads';
import { closeFd, createEventFd, drainEventFd, pidfdOpen, signalEventFd } from '../kernel/index.ts';
import type { Reactor } from './index.ts';

/** The started threads, so that the test can end one from outside, as a defect or a lack of memory would. */
const started: workerThreads.Worker[] = [];
workerThreads.Worker = class extends workerThreads.Worker {
  constructor(...given: ConstructorParameters<typeof workerThreads.Worker>) {
    super(...given);
    started.push(this);
  }
};
syncBuiltinESMExports();
const { startReactor } = await import('./index.ts');

let reactor: Reactor;
const lost: string[] = [];
before(async () => {
  reactor = await startReactor((why) => lost.push(why));
});
after(() => reactor.close());

test(
  'a lost Worker is started again, and an event that it took and did not deliver is delivered',
  { timeout: 20_000 },
  async () => {
    const child = spawn('sleep', ['600'], { stdio: 'ignore' });
    const pidfd = pidfdOpen(child.pid ?? -1);
    const ended = new Promise<void>((resolve) => void reactor.onExit(pidfd, resolve));
    const fd = createEventFd();
    const readable = new Promise<void>((resolve) => {
      const stop = reactor.onReadable(fd, () => {
        drainEventFd(fd);
        stop();
        resolve();
      });
    });
    // The thread sleeps in the kernel: it ends with the next event, which is lost with it.
    const gone = started.at(-1)?.terminate();
    signalEventFd(fd);
    await gone;
    await readable;
    assert.equal(lost.length, 1);
    child.kill();
    await ended;
    for (const each of [fd, pidfd]) closeFd(each);
  },
);

test('a close while no Worker runs ends', { timeout: 20_000 }, async () => {
  const other = await startReactor();
  const fd = createEventFd();
  other.onReadable(fd, () => undefined);
  const gone = started.at(-1)?.terminate();
  signalEventFd(fd);
  await gone;
  const count = started.length;
  await other.close();
  closeFd(fd);
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(started.length, count);
});

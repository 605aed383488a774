import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import {
  closeFd,
  createEventFd,
  drainEventFd,
  kernelRelease,
  openFile,
  pidfdInfo,
  pidfdOpen,
  signalEventFd,
} from '../kernel/index.ts';
import { startReactor } from './index.ts';
import type { Reactor } from './index.ts';

let reactor: Reactor;
before(async () => {
  reactor = await startReactor();
});
after(() => reactor.close());

function pidfdOf(script: string): { pidfd: number; exited: Promise<unknown> } {
  const child = spawn('sh', ['-c', script], { stdio: 'ignore' });
  return { pidfd: pidfdOpen(child.pid ?? -1), exited: once(child, 'exit') };
}

/** Returns a module's address, for a separate program. */
function url(module: string): string {
  return JSON.stringify(new URL(module, import.meta.url).href);
}

/** Resolves at the first readability. */
function readable(fd: number): Promise<void> {
  return new Promise((resolve) => {
    const stop = reactor.onReadable(fd, () => {
      stop();
      resolve();
    });
  });
}

test('the end of a process is reported once, also when it has already ended', async () => {
  const { pidfd, exited } = pidfdOf('sleep 0.05');
  let times = 0;
  await new Promise<void>((resolve) => {
    reactor.onExit(pidfd, () => {
      times += 1;
      resolve();
    });
  });
  assert.equal(pidfdInfo(pidfd)?.exited ?? true, true);
  await exited;
  await new Promise<void>((resolve) => void reactor.onExit(pidfd, resolve));
  await setTimeout(20);
  assert.equal(times, 1);
  closeFd(pidfd);
});

const { major, minor } = kernelRelease();
test('a reaped process has its exit code', { skip: major < 6 || (major === 6 && minor < 15) }, async () => {
  const { pidfd } = pidfdOf('sleep 0.05; exit 3');
  await new Promise<void>((resolve) => void reactor.onReaped(pidfd, resolve));
  assert.equal(pidfdInfo(pidfd)?.exitCode, 3);
  closeFd(pidfd);
});

test('the ends of a hundred processes are reported at once', async () => {
  const children = Array.from({ length: 100 }, () => pidfdOf('exit 0'));
  await Promise.all(
    children.map(({ pidfd }) => new Promise<void>((resolve) => void reactor.onExit(pidfd, resolve))),
  );
  await Promise.all(children.map(({ exited }) => exited));
  for (const { pidfd } of children) closeFd(pidfd);
});

test('readability is reported repeatedly as long as it lasts', async () => {
  const fd = createEventFd();
  signalEventFd(fd);
  let times = 0;
  await new Promise<void>((resolve) => {
    const stop = reactor.onReadable(fd, () => {
      if (++times < 10) return; // left unread: reported again
      drainEventFd(fd);
      stop();
      resolve();
    });
  });
  await setTimeout(20);
  assert.equal(times, 10);
  closeFd(fd);
});

test('no event is reported after unsubscribe, and the descriptor can be subscribed again', async () => {
  const fd = createEventFd();
  let wrong = 0;
  const stop = reactor.onReadable(fd, () => (wrong += 1));
  signalEventFd(fd);
  stop(); // the event may be on its way already
  stop();
  await readable(fd);
  assert.equal(wrong, 0);
  closeFd(fd);
});

test('a descriptor has one subscriber', () => {
  const fd = createEventFd();
  const stop = reactor.onReadable(fd, () => undefined);
  assert.throws(() => reactor.onReadable(fd, () => undefined), { code: 'KERNEL_EEXIST' });
  stop();
  closeFd(fd);
  assert.throws(() => reactor.onReadable(fd, () => undefined), { code: 'KERNEL_EBADF' });
  const file = openFile('/etc/passwd', 0);
  assert.throws(() => reactor.onReadable(file, () => undefined), { code: 'KERNEL_EPERM' });
  closeFd(file);
});

test('a descriptor number that was closed without unsubscribe and reused belongs to the new subscriber', async () => {
  const first = createEventFd();
  let wrong = 0;
  const stale = reactor.onReadable(first, () => (wrong += 1));
  signalEventFd(first);
  closeFd(first);
  const second = createEventFd();
  assert.equal(second, first);
  const reported = readable(second);
  stale();
  signalEventFd(second);
  await reported;
  assert.equal(wrong, 0);
  closeFd(second);
});

test('a callback that throws is an uncaught exception and does not stop the others', () => {
  const program = `
    import { startReactor } from ${url('./index.ts')};
    import { createEventFd, signalEventFd } from ${url('../kernel/index.ts')};
    const reactor = await startReactor();
    process.on('uncaughtException', (error) => console.log('uncaught:', error.message));
    const thrower = createEventFd();
    const stop = reactor.onReadable(thrower, () => { stop(); throw new Error('of the callback'); });
    const other = createEventFd();
    reactor.onReadable(other, () => { console.log('the other'); void reactor.close(); });
    signalEventFd(thrower);
    signalEventFd(other);
    await new Promise((resolve) => setTimeout(resolve, 100));`;
  const result = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', timeout: 20_000 });
  assert.deepEqual(result.stdout.trim().split('\n').sort(), ['the other', 'uncaught: of the callback']);
});

test('close leaves neither thread nor descriptor, and no further event is reported', async () => {
  const threads = (): number => readdirSync('/proc/self/task').length;
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  await stat('/'); // starts libuv's pool, whose threads would be counted against the reactor
  const state = [threads(), descriptors()];
  const another = await startReactor();
  const fd = createEventFd();
  let wrong = 0;
  another.onReadable(fd, () => (wrong += 1));
  signalEventFd(fd);
  await Promise.all([another.close(), another.close()]);
  closeFd(fd);
  assert.equal(wrong, 0);
  // A joined thread leaves /proc a moment later; the libuv pool may have started meanwhile, but no thread of
  // the reactor may stay.
  for (let waited = 0; waited < 3_000 && threads() > (state[0] ?? 0); waited++) await setTimeout(20);
  assert.deepEqual([threads(), descriptors()], state);
});

for (const [what, ending, status] of [
  ['has nothing more to do', '', 0],
  ['calls process.exit', 'process.exit(3);', 3],
  ['throws', "throw new Error('end');", 1],
  ['closed the reactor', 'await reactor.close();', 0],
] as const) {
  test(`a process that ${what} ends`, () => {
    const program = `
      import { startReactor } from ${url('./index.ts')};
      import { createEventFd } from ${url('../kernel/index.ts')};
      const reactor = await startReactor();
      reactor.onReadable(createEventFd(), () => {});
      ${ending}`;
    const result = spawnSync(process.execPath, ['-e', program], { timeout: 20_000 });
    assert.deepEqual([result.status, result.signal], [status, null]);
  });
}

test('waiting costs no processor time', async () => {
  const ticks = (): number => {
    const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? [];
    return Number(fields[11]) + Number(fields[12]);
  };
  reactor.onReadable(createEventFd(), () => undefined);
  const before = ticks();
  await setTimeout(300);
  // A busy loop would take all 30 ticks; the other work of this process takes few.
  assert.ok(ticks() - before <= 15);
});

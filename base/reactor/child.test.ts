import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { closeFd, openPipe, startKernelWorker } from '../kernel/index.ts';
import type { Kernel } from '../kernel/index.ts';
import { holdDescriptors } from '../process/descriptors.fixture.ts';
import { programStarter, startReactor } from './index.ts';
import type { Child, Reactor, StartProgram } from './index.ts';

let reactor: Reactor;
let kernel: Kernel;
let start: StartProgram;
before(async () => {
  [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  start = programStarter(reactor, kernel);
});
after(() => Promise.all([reactor.close(), kernel.close()]));

// An idle reactor does not keep the process alive, so the test does.
const hold = setInterval(() => undefined, 1_000);
after(() => clearInterval(hold));

function shell(
  script: string,
  descriptors: (number | null)[] = [null, null, null],
  cwd?: string,
): Promise<Child> {
  const env = { PATH: '/usr/bin:/bin', GREETING: 'hello' };
  return start({
    path: '/bin/sh',
    argv: ['sh', '-c', script],
    env,
    descriptors,
    ...(cwd !== undefined && { cwd }),
  });
}

test('exit codes and signals are reported, and the child is reaped', async () => {
  assert.equal(await (await shell('exit 7')).exited, 7);
  const sleeper = await shell('exec sleep 60');
  sleeper.kill(9);
  assert.equal(await sleeper.exited, 137);
  sleeper.kill(9);
  assert.throws(() => process.kill(sleeper.pid, 0), { code: 'ESRCH' });
});

test('a child gets the descriptors that were named, the environment and the folder, and nothing else', async () => {
  const pipe = openPipe();
  const spare = openPipe();
  const child = await shell(
    'echo "$GREETING $(pwd)"; exec readlink /proc/self/fd/3',
    [null, pipe.write, null, pipe.write],
    '/usr',
  );
  closeFd(pipe.write);
  const output = await text(new Socket({ fd: pipe.read, readable: true, writable: false }));
  assert.equal(await child.exited, 0);
  assert.match(output, /^hello \/usr\npipe:/);
  const listing = openPipe();
  const list = await start({
    path: '/bin/ls',
    argv: ['ls', '/proc/self/fd'],
    env: {},
    descriptors: [null, listing.write, null],
  });
  closeFd(listing.write);
  // The last one is the folder that ls reads.
  assert.equal(await text(new Socket({ fd: listing.read, readable: true, writable: false })), '0\n1\n2\n3\n');
  assert.equal(await list.exited, 0);
  closeFd(spare.read);
  closeFd(spare.write);
});

test('signals are at their defaults and none is blocked, whatever this process does with them', async () => {
  const pipe = openPipe();
  const child = await start({
    path: '/bin/cat',
    argv: ['cat', '/proc/self/status'],
    env: {},
    descriptors: [null, pipe.write, null],
  });
  closeFd(pipe.write);
  const status = await text(new Socket({ fd: pipe.read, readable: true, writable: false }));
  assert.equal(await child.exited, 0);
  assert.match(status, /^SigBlk:\s+0+$/m);
  assert.match(status, /^SigIgn:\s+0+$/m);
});

test('a program that cannot be started makes the call fail', async () => {
  await assert.rejects(start({ path: '/nonexistent', argv: ['x'], env: {}, descriptors: [] }), {
    code: 'KERNEL_ENOENT',
  });
  await assert.rejects(start({ path: '/etc/passwd', argv: ['x'], env: {}, descriptors: [] }), {
    code: 'KERNEL_EACCES',
  });
});

test('many children are started at once', async () => {
  const codes = await Promise.all(
    Array.from({ length: 50 }, async (_, index) => (await shell(`exit ${index}`)).exited),
  );
  assert.deepEqual(
    codes,
    Array.from({ length: 50 }, (_, index) => index),
  );
});

test('a child for which no descriptor is free is killed and reaped before the failure is reported', async () => {
  // The children of every thread: a child belongs to the thread that started it.
  const mine = () =>
    readdirSync('/proc/self/task').map((thread) =>
      readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim(),
    );
  const before = mine();
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    // The child needs no descriptor itself, but its pidfd does.
    await assert.rejects(start({ path: '/bin/sleep', argv: ['sleep', '600'], env: {}, descriptors: [] }), {
      code: 'KERNEL_EMFILE',
    });
  } finally {
    descriptors.release();
  }
  assert.deepEqual(mine(), before);
});

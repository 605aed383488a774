import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { kernelRelease } from '../../base/kernel/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { withoutFirstThread } from '../../base/process/first-thread.fixture.ts';
import { processIdentity } from '../../base/process/index.ts';
import { startReactor } from '../../base/reactor/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import { signalProcess } from '../processes/processes.ts';
import { openExitWatch } from './exits.ts';
import type { Exit, ExitWatch } from './exits.ts';

const { major, minor } = kernelRelease();
const reportsExits = major > 6 || (major === 6 && minor >= 15);
const slowParent = `import os, time
child = os.fork()
if child == 0:
  time.sleep(0.5)
  os._exit(7)
print(child, flush=True)
time.sleep(3)
os.wait()
`;

const ignored = (): void => undefined;
let reactor: Reactor;
let exits: ExitWatch;
let folder: string;
before(async () => {
  reactor = await startReactor();
  folder = mkdtempSync(join(tmpdir(), 'exits-'));
  mkdirSync(join(folder, 'a2-bundle'));
  exits = await openExitWatch({ folder, bundle: (id) => join(folder, `${id}-bundle`), reactor });
});
after(async () => {
  exits.close();
  await reactor.close();
  rmSync(folder, { recursive: true });
});

function sleeper(seconds: string) {
  const child = spawn('sleep', [seconds], { stdio: 'ignore' });
  const identity = processIdentity(child.pid ?? 0);
  assert.ok(identity);
  return { child, identity };
}

/** Writes an exit like conmon: a temporary file, then a rename. */
function writeExit(id: string, code: string): void {
  writeFileSync(join(folder, `${id}.tmp`), code);
  renameSync(join(folder, `${id}.tmp`), join(folder, id));
}

test('an exit is reported once, with the code and the time of the file', async () => {
  const [init, monitor] = [sleeper('30'), sleeper('30')];
  const reported: Exit[] = [];
  const first = new Promise<Exit>((resolve) =>
    exits.watchContainer(
      'a1',
      { init: init.identity, monitor: monitor.identity },
      (exit) => {
        reported.push(exit);
        resolve(exit);
      },
      ignored,
    ),
  );
  writeExit('a1', '42');
  const exit = await first;
  assert.equal(exit.code, 42);
  assert.equal(exit.fromMonitor, true);
  assert.ok(Math.abs(Number(BigInt(exit.finishedAt) / 1_000_000n) - Date.now()) < 5_000);
  init.child.kill('SIGKILL');
  monitor.child.kill('SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(reported.length, 1);
  assert.equal((await exits.recorded('a1'))?.code, 42);
  await exits.forget('a1');
  assert.equal(await exits.recorded('a1'), undefined);
});

test('a code that is only in the file that is written first counts as the code of the monitor', async () => {
  const gone = { pid: 2 ** 22, startTime: '1', bootId: 'none' };
  writeFileSync(join(folder, 'a2-bundle/exit'), '3');
  const exit = await new Promise<Exit>((resolve) =>
    exits.watchContainer('a2', { init: gone, monitor: gone }, resolve, ignored),
  );
  assert.deepEqual([exit.code, exit.fromMonitor], [3, true]);
  writeExit('a2', '4');
  assert.equal((await exits.recorded('a2'))?.code, 4);
});

for (const [what, make] of [
  ['folder', (path: string) => mkdirSync(join(path, 'below'), { recursive: true })],
  ['FIFO', (path: string) => spawnSync('mkfifo', [path])],
] as const)
  test(`a ${what} with the name of an exit file does not hide the exit, and is removed with it`, async () => {
    const gone = { pid: 2 ** 22, startTime: '1', bootId: 'none' };
    const id = `a5-${what}`;
    make(join(folder, id));
    mkdirSync(join(folder, `${id}-bundle`));
    writeFileSync(join(folder, `${id}-bundle/exit`), '3');
    const exit = await new Promise<Exit>((resolve) =>
      exits.watchContainer(id, { init: gone, monitor: gone }, resolve, ignored),
    );
    assert.deepEqual([exit.code, exit.fromMonitor], [3, true]);
    await exits.forget(id);
    assert.equal(readdirSync(folder).includes(id), false);
  });

test('the watch waits for the kernel’s code if process 1 reaps slowly', { skip: !reportsExits }, async () => {
  const gone = { pid: 2 ** 22, startTime: '1', bootId: 'none' };
  // Its parent, which plays process 1, reaps it late.
  const parent = spawn('python3', ['-c', slowParent], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [chunk] = (await once(parent.stdout, 'data')) as [Buffer];
  const init = processIdentity(Number(chunk.toString()));
  assert.ok(init);
  const exit = await new Promise<Exit>((resolve) =>
    exits.watchContainer('a3', { init, monitor: gone }, resolve, ignored),
  );
  assert.deepEqual([exit.code, exit.fromMonitor], [7, false]);
});

test('an exit that happened before the watch is reported as well', async () => {
  writeExit('b2', '0');
  const exit = await new Promise<Exit>((resolve) => {
    const gone = { pid: 2 ** 22, startTime: '1', bootId: 'none' };
    exits.watchContainer('b2', { init: gone, monitor: gone }, resolve, ignored);
  });
  assert.equal(exit.code, 0);
});

test('if the monitor has died, the kernel’s code is used, or 255 if it is unknown', async () => {
  const [init, monitor] = [sleeper('30'), sleeper('30')];
  monitor.child.kill('SIGKILL');
  await new Promise((resolve) => monitor.child.once('exit', resolve));
  const known = new Promise<Exit>((resolve) =>
    exits.watchContainer('c3', { init: init.identity, monitor: monitor.identity }, resolve, ignored),
  );
  init.child.kill('SIGTERM');
  const exit = await known;
  assert.equal(exit.fromMonitor, false);
  assert.ok([143, 255].includes(exit.code), `${exit.code}: 143 if the kernel provides it (6.15), else 255`);
  const gone = { pid: 2 ** 22, startTime: '1', bootId: 'none' };
  const unknown = await new Promise<Exit>((resolve) =>
    exits.watchContainer('d4', { init: gone, monitor: gone }, resolve, ignored),
  );
  assert.deepEqual([unknown.code, unknown.fromMonitor], [255, false]);
});

test('a running container is not reported as ended if no descriptor is free, and its exit is reported when a descriptor is free again', async () => {
  const [init, monitor] = [sleeper('30'), sleeper('30')];
  const descriptors = holdDescriptors();
  const reported: Exit[] = [];
  try {
    descriptors.fill();
    exits.watchContainer(
      'e5',
      { init: init.identity, monitor: monitor.identity },
      (exit) => reported.push(exit),
      ignored,
    );
    await pause(700);
    assert.deepEqual(reported, []);
  } finally {
    descriptors.release();
  }
  // Waits past the moment of the next check.
  await pause(500);
  assert.deepEqual(reported, [], 'both live');
  init.child.kill('SIGKILL');
  writeExit('e5', '7');
  for (let waited = 0; reported.length === 0 && waited < 60_000; waited += 20) await pause(20);
  assert.deepEqual(
    reported.map(({ code }) => code),
    [7],
  );
  monitor.child.kill('SIGKILL');
});

test('a container whose first thread has ended is not reported as ended while another of its threads runs', async () => {
  const gone = { pid: 2 ** 22, startTime: '1', bootId: 'none' };
  using started = await withoutFirstThread();
  const { child, identity: init } = started;
  const reported: Exit[] = [];
  const exit = new Promise<void>((resolve) =>
    exits.watchContainer(
      'thread',
      { init, monitor: gone },
      (one) => {
        reported.push(one);
        resolve();
      },
      ignored,
    ),
  );
  await pause(500);
  assert.equal(reported.length, 0, JSON.stringify(reported));
  signalProcess(init, 9);
  await exit;
  assert.equal(child.killed, false, 'the signal of the product has ended it');
  assert.ok([137, 255].includes(reported[0]?.code ?? 0), '137 if the kernel provides it (6.15), else 255');
});

test('a code that cannot be read does not count as a missing code', async () => {
  const [init, monitor] = [sleeper('30'), sleeper('30')];
  for (const { child } of [init, monitor]) {
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
  }
  writeExit('f6', '9');
  const descriptors = holdDescriptors();
  const reported: Exit[] = [];
  try {
    descriptors.fill();
    await assert.rejects(exits.recorded('f6'), { code: 'RUNTIME_EXIT_UNREADABLE' });
    exits.watchContainer(
      'f6',
      { init: init.identity, monitor: monitor.identity },
      (exit) => reported.push(exit),
      ignored,
    );
    await pause(700);
    assert.deepEqual(reported, []);
  } finally {
    descriptors.release();
  }
  for (let waited = 0; reported.length === 0 && waited < 60_000; waited += 20) await pause(20);
  assert.deepEqual(
    reported.map(({ code, fromMonitor }) => [code, fromMonitor]),
    [[9, true]],
  );
});

test('the watch waits for a monitor that writes the code late', async () => {
  const [init, monitor] = [sleeper('30'), sleeper('30')];
  const reported = new Promise<Exit>((resolve) =>
    exits.watchContainer('g7', { init: init.identity, monitor: monitor.identity }, resolve, ignored),
  );
  init.child.kill('SIGKILL');
  await pause(1_000);
  writeExit('g7', '5');
  assert.equal((await reported).code, 5);
  monitor.child.kill('SIGKILL');
});

test('a monitor that ends before the first process is reported at once, and a monitor that ends after it is not', async () => {
  const [init, monitor] = [sleeper('30'), sleeper('30')];
  let lost = 0;
  const noticed = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<Exit>();
  exits.watchContainer('h8', { init: init.identity, monitor: monitor.identity }, ended.resolve, () => {
    lost += 1;
    noticed.resolve();
  });
  monitor.child.kill('SIGKILL');
  await noticed.promise;
  init.child.kill('SIGKILL');
  assert.equal((await ended.promise).fromMonitor, false);
  assert.equal(lost, 1);

  const [first, second] = [sleeper('30'), sleeper('30')];
  const reported = new Promise<Exit>((resolve) =>
    exits.watchContainer(
      'i9',
      { init: first.identity, monitor: second.identity },
      resolve,
      () => (lost += 1),
    ),
  );
  first.child.kill('SIGKILL');
  await once(first.child, 'exit');
  writeExit('i9', '137');
  second.child.kill('SIGKILL');
  assert.equal((await reported).code, 137);
  await pause(100);
  assert.equal(lost, 1);
});

test('the file of a monitor that was killed while writing is removed with the exit, and no other file', async () => {
  for (const name of ['b1.3LCCZ3', 'b1', 'b12', 'b12.3LCCZ3']) writeFileSync(join(folder, name), '0');
  await exits.forget('b1');
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('b1')),
    ['b12', 'b12.3LCCZ3'],
  );
});

test('without an inotify instance, exits are detected by the end of the processes', () => {
  const fixture = join(import.meta.dirname, 'no-inotify.fixture.ts');
  const command = ['--user', '--map-root-user', process.execPath, fixture];
  const { stdout, stderr, status } = spawnSync('unshare', command, { encoding: 'utf8' });
  assert.deepEqual([status, stdout, stderr], [0, '42', '']);
});

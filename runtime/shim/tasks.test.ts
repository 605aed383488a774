import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import { writeFd } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { parseDeclaration } from '../../base/protobuf/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { serveTtrpc, ttrpcHandler, ttrpcMethods } from '../../base/ttrpc/index.ts';
import declaration from './contract.json' with { type: 'json' };
import { processIdentity } from '../../base/process/index.ts';
import { readTaskExit } from './stand-in.ts';
import { writeShimRecord } from './shim-record.ts';
import { createShimTasks } from './tasks.ts';

/**
 * A shim that this process serves, and that reports a process as its own.
 * @param own its answers to some calls
 */
async function shimThatReports(
  folder: string,
  shimPid: number,
  own: Readonly<Record<string, () => object>> = {},
) {
  const path = join(folder, 'shim.sock');
  const method = ttrpcMethods(parseDeclaration(declaration));
  const server = createServer((socket) => {
    serveTtrpc(
      socket,
      [
        ttrpcHandler<object, object>(method('Task', 'Connect'), () => ({ shimPid })),
        ttrpcHandler<object, object>(method('Task', 'Update'), () => new Promise(() => undefined)),
        ...['Create', 'Start', 'State', 'Kill', 'Wait', 'Delete', 'Shutdown'].map((name) =>
          ttrpcHandler<object, object>(method('Task', name), own[name] ?? (() => ({}))),
        ),
      ],
      { name: 'the test' },
    );
  });
  server.listen(path);
  await once(server, 'listening');
  const startProgram: StartProgram = ({ descriptors }) => {
    writeFd(
      Number(descriptors[1]),
      Buffer.from(JSON.stringify({ version: 3, address: `unix://${path}`, protocol: 'ttrpc' })),
    );
    return Promise.resolve({ pid: 0, exited: Promise.resolve(0), kill: () => undefined });
  };
  const tasks = createShimTasks({
    program: {
      ...{ startProgram, path: '/usr/bin/shim', runtimeFolder: '' },
      events: {
        socket: join(folder, 'events'),
        ensure: () => Promise.resolve(),
        close: () => Promise.resolve(true),
      },
    },
    options: () => undefined,
    signalsUnstarted: true,
    idle: () => undefined,
    log: createLogger({ level: 'silent' }),
  });
  return { tasks, server };
}

test('a process that ran before its shim is not taken for the shim, and not killed with the pod', async (t) => {
  const other = spawn('sleep', ['1000'], { stdio: 'ignore' });
  t.after(() => other.kill('SIGKILL'));
  await pause(50);
  for (const pid of [other.pid ?? 0, process.pid, 1]) {
    const folder = mkdtempSync(join(tmpdir(), 'pc-shim-tasks-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const { tasks, server } = await shimThatReports(folder, pid);
    t.after(async () => {
      server.close();
      await tasks.close();
    });
    const id = folder.slice(-6).repeat(5);
    await assert.rejects(
      tasks.startPod(id, folder, false),
      (thrown) => isPortcullisError(thrown) && thrown.code === 'SHIM_BAD_ANSWER',
      String(pid),
    );
    await tasks.endPod(id, folder);
  }
  assert.equal(other.exitCode ?? other.signalCode, null);
});

test('the end of a pod ends an unrecorded shim, and no client that names the pod', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { tasks, server } = await shimThatReports(folder, process.pid);
  t.after(async () => {
    server.close();
    await tasks.close();
  });
  const id = folder.slice(-6).repeat(5);
  const running = (...args: readonly string[]) => {
    const child = spawn('sh', ['-c', 'while true; do sleep 0.2; done', ...args], { stdio: 'ignore' });
    t.after(() => child.kill('SIGKILL'));
    return child;
  };
  const client = running('crictl', 'stopp', id);
  const shim = running('shim', '-id', id, '-address', join(folder, 'events'));
  const runtime = running('runtime', '--log', join(folder, 'log.json'), 'create', id);
  const ended = Promise.all([once(shim, 'exit'), once(runtime, 'exit')]);
  await pause(50);
  await tasks.endPod(id, folder);
  await ended;
  await pause(50);
  assert.equal(client.exitCode ?? client.signalCode, null);
});

test('an update that the shim does not answer ends when its container is stopped', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { tasks, server } = await shimThatReports(folder, process.pid);
  t.after(async () => {
    server.close();
    await tasks.close();
  });
  await writeShimRecord(folder, { version: 3, socket: join(folder, 'shim.sock') });
  const stopped = new AbortController();
  const updating = tasks.update('c1', folder, { typeUrl: '', value: Buffer.alloc(0) }, stopped.signal);
  setTimeout(() => stopped.abort(new Error('it is being stopped')), 50);
  await assert.rejects(updating, /it is being stopped/u);
});

test('the end of a task is reported, although its shim answers no wait for it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  let isEnded = false;
  const { tasks, server } = await shimThatReports(folder, process.pid, {
    Wait: () => {
      throw new Error('no wait');
    },
    State: () => (isEnded ? { status: 3, exitStatus: 7, exitedAt: { seconds: 5, nanos: 6 } } : { status: 2 }),
  });
  t.after(async () => {
    server.close();
    await tasks.close();
  });
  const own = processIdentity(process.pid);
  assert.ok(own !== undefined);
  await writeShimRecord(folder, { version: 3, socket: join(folder, 'shim.sock'), process: own });
  tasks.follow('c1', folder);
  await pause(300);
  assert.equal(await readTaskExit(folder), undefined);
  isEnded = true;
  for (let waited = 0; waited < 20_000 && (await readTaskExit(folder)) === undefined; waited += 50)
    await pause(50);
  assert.deepEqual(await readTaskExit(folder), { code: 7, finishedAt: '5000000006' });
});

test('the removal of a task ends after the report of its end, which writes into the bundle', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [wait, asked] = [Promise.withResolvers<object>(), Promise.withResolvers<undefined>()];
  const { tasks, server } = await shimThatReports(folder, process.pid, {
    Wait: () => {
      asked.resolve(undefined);
      return wait.promise;
    },
    State: () => ({ status: 3 }),
    Delete: () => {
      setTimeout(() => wait.resolve({ exitStatus: 7, exitedAt: { seconds: 5, nanos: 6 } }), 100);
      return {};
    },
  });
  t.after(async () => {
    server.close();
    await tasks.close();
  });
  await writeShimRecord(folder, { version: 3, socket: join(folder, 'shim.sock') });
  tasks.follow('c1', folder);
  await asked.promise;
  await tasks.delete('c1', folder);
  assert.deepEqual(await readTaskExit(folder), { code: 7, finishedAt: '5000000006' });
});

test('the end of a task is reported at its removal, although its shim answers no wait for it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const looked = Promise.withResolvers<undefined>();
  let state = (): object => {
    looked.resolve(undefined);
    throw new Error('busy');
  };
  const { tasks, server } = await shimThatReports(folder, process.pid, {
    Wait: () => {
      throw new Error('no wait');
    },
    State: () => state(),
    Delete: () => {
      state = () => {
        throw new Error('container not created');
      };
      return {};
    },
  });
  t.after(async () => {
    server.close();
    await tasks.close();
  });
  const own = processIdentity(process.pid);
  assert.ok(own !== undefined);
  await writeShimRecord(folder, { version: 3, socket: join(folder, 'shim.sock'), process: own });
  tasks.follow('c1', folder);
  await looked.promise;
  state = () => ({ status: 3 });
  await tasks.delete('c1', folder);
  assert.notEqual(await readTaskExit(folder), undefined);
});

test('the end of a pod removes the socket of its shim, and no other file that the shim named', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-tasks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { tasks, server } = await shimThatReports(folder, process.pid);
  t.after(async () => {
    server.close();
    await tasks.close();
  });
  const [file, dead] = [join(folder, 'file'), join(folder, 'dead.sock')];
  writeFileSync(file, 'of another program');
  const listen = `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', listen], { stdio: 'ignore' }), 'exit');
  assert.ok(existsSync(dead));
  for (const [socket, stays] of [
    [file, true],
    [join(folder, 'shim.sock'), true],
    [dead, false],
  ] as const) {
    await writeShimRecord(folder, { version: 3, socket });
    await tasks.endPod(folder.slice(-6).repeat(5), folder);
    assert.equal(existsSync(socket), stays, socket);
  }
});

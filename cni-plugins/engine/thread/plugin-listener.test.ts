import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { closeFd, listenUnix, reapProcess, spawnProcess } from '../../../base/kernel/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { asNobody } from '../../../test/fixtures/as-nobody.ts';
import { greetingOf, headSize, versions } from '../../cni/server/frames.ts';
import { createListeningSide } from '../listening.ts';
import type { Call } from './protocol.ts';

/** Builds a call as the thin client sends it, with its input. */
function callOf(name: string, environment: Readonly<Record<string, string>>, input: string): Buffer {
  const strings = Buffer.from(
    `${name}\0${Object.entries(environment)
      .map(([key, value]) => `${key}=${value}\0`)
      .join('')}`,
  );
  const head = Buffer.alloc(headSize);
  greetingOf(versions.withInput, false).copy(head);
  head[7] = 0;
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(strings.length), 16);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(input.length));
  return Buffer.concat([head, strings, length, Buffer.from(input)]);
}
const del = (id: string): Buffer =>
  callOf(
    'portcullis-loopback',
    { CNI_COMMAND: 'DEL', CNI_CONTAINERID: id, CNI_IFNAME: 'lo', CNI_PATH: '/nowhere' },
    JSON.stringify({ cniVersion: '1.0.0', name: 'n', type: 'loopback' }),
  );

/** Returns what arrived before the other side closed. */
function answered(
  socket: string,
  call: Buffer,
  onGreeted: () => void = () => undefined,
  onSent: () => void = () => undefined,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const connection = connect(socket, () => connection.write(call, onSent));
    connection.on('data', (chunk) => {
      if (received === '') onGreeted();
      received += chunk.toString('latin1');
    });
    connection.once('error', reject);
    connection.once('close', () => resolve(received));
  });
}

describe('plugin calls in the engine’s thread', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-listener-'));
  const socket = join(folder, 'cni.sock');
  let listener = -1;
  let worker: Worker;
  /** Returns the greeting and the answer of a call. */
  let whole = '';
  /**
   * Counters: completed acts, acts that may complete (an act waits for this, so the tests do not depend on
   * the speed of the machine), and started acts.
   */
  const counted = new Int32Array(new SharedArrayBuffer(12));
  const allowActs = (count: number): void => {
    Atomics.store(counted, 1, count);
    Atomics.notify(counted, 1);
  };
  const handedOver: { fd: number; first: Uint8Array }[] = [];
  before(async () => {
    listener = listenUnix(socket);
    // Runs the plugin socket in a thread of its own, as in the engine, with an act that waits until it is
    // allowed.
    const program = `
      import { parentPort, workerData } from 'node:worker_threads';
      import { openPluginListener } from ${JSON.stringify(join(import.meta.dirname, 'plugin-listener.ts'))};
      const { counted } = workerData;
      // The listener delays acts for at most 100 ms while callers come. On a busy machine, this time passes between two callers.
      performance.now = () => 0;
      const act = () => {
        Atomics.add(counted, 2, 1);
        for (let allowed; Atomics.load(counted, 0) >= (allowed = Atomics.load(counted, 1));) Atomics.wait(counted, 1, allowed);
        Atomics.add(counted, 0, 1);
      };
      const log = { warn: () => undefined, debug: () => undefined };
      const listener = openPluginListener({ fd: workerData.fd, act, handOver: (connection) => parentPort.postMessage(connection), log });
      parentPort.once('message', async () => { await listener.close(); parentPort.postMessage('closed'); parentPort.close(); });
      parentPort.postMessage('open');`;
    worker = new Worker(program, {
      eval: true,
      workerData: { fd: listener, counted },
      execArgv: ['--input-type=module'],
    });
    await new Promise((resolve) => worker.once('message', resolve));
    worker.on('message', (message: unknown) => {
      if (typeof message === 'object') handedOver.push(message as { fd: number; first: Uint8Array });
    });
  });
  after(async () => {
    allowActs(1000);
    await worker.terminate();
    rmSync(folder, { recursive: true });
  });

  it('greets every caller before it has served all of them', async () => {
    let greeted = 0;
    let sent = 0;
    const ask = (index: number): Promise<string> =>
      answered(
        socket,
        del(`c${String(index)}`),
        () => (greeted += 1),
        () => (sent += 1),
      );
    // The only call so far; its act keeps the thread busy until all others have connected.
    const many = [ask(0)];
    for (const end = performance.now() + 60_000; Atomics.load(counted, 2) === 0 && performance.now() < end;)
      await sleep(10);
    for (let index = 1; index < 40; index += 1) many.push(ask(index));
    for (const end = performance.now() + 60_000; sent < 40 && performance.now() < end;) await sleep(10);
    // If acts ran in turn without polling in between, the last client would receive its greeting after 39
    // acts.
    allowActs(14);
    for (const end = performance.now() + 60_000; greeted < 40 && performance.now() < end;) await sleep(10);
    const greetedThen = greeted;
    allowActs(1000);
    const answers = await Promise.all(many);
    assert.equal(greetedThen, 40);
    assert.equal(counted[0], 40);
    assert.equal(new Set(answers).size, 1);
    assert.match((whole = answers[0] ?? ''), /^PCTCNI2n/u);
  });

  it('hands over calls for another thread, with all bytes that were read, and does not answer them', async () => {
    const acted = counted[0];
    const question = callOf('portcullis-cnm', { CNI_COMMAND: 'ADD' }, 'more');
    const answer = answered(socket, question);
    for (const end = performance.now() + 60_000; handedOver.length === 0 && performance.now() < end;)
      await sleep(10);
    const [connection] = handedOver;
    assert.deepEqual(Buffer.from(connection?.first ?? []), question);
    closeFd(connection?.fd ?? -1);
    assert.equal(await answer, '');
    assert.equal(counted[0], acted);
  });

  it('closes a caller that is not root at once', async () => {
    // Only root can open the real socket file. Here all users can, to test what the listener itself answers.
    const script = `const c = require('net').connect(${JSON.stringify(socket)}); c.on('error', () => process.exit(3)); c.on('close', () => process.exit(0)); c.resume()`;
    const argv = [...asNobody, process.execPath, '-e', script];
    const open = `chmod 711 ${folder} && chmod 666 ${socket} && exec "$@"`;
    const pid = spawnProcess({
      path: '/bin/sh',
      argv: ['sh', '-c', open, 'sh', ...argv],
      env: { PATH: process.env['PATH'] },
      descriptors: [null, 1, 2],
    });
    let end = reapProcess(pid);
    while (end === undefined) {
      await sleep(20);
      end = reapProcess(pid);
    }
    assert.deepEqual(end, { code: 0 });
  });

  it('answers all calls that it has read before it is closed', async () => {
    allowActs(counted[0] ?? 0);
    let last = Promise.resolve('');
    await new Promise<void>((resolve) => {
      last = answered(socket, del('last'), resolve);
    });
    const closed = new Promise((resolve) => worker.once('message', resolve));
    worker.postMessage('close');
    allowActs(1000);
    assert.equal(await last, whole);
    assert.equal(await closed, 'closed');
  });
});

describe('listening of an engine whose thread is lost', () => {
  it('is continued by the next thread, until it is closed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-listening-'));
    const listener = listenUnix(join(folder, 'cni.sock'));
    const calls: Call[] = [];
    const ask = (call: Call): Promise<object> => {
      calls.push(call);
      return Promise.resolve({});
    };
    try {
      const side = createListeningSide(
        ask,
        () => Promise.resolve(undefined),
        createLogger({ level: 'silent' }),
      );
      const listening = await side.servePlugins(listener);
      side.lost();
      for (const end = performance.now() + 60_000; calls.length < 2 && performance.now() < end;)
        await sleep(20);
      const descriptors = calls.map((call) => (call.do === 'listen' ? call.fd : -1));
      assert.equal(new Set([listener, ...descriptors]).size, 3, 'each thread has its own descriptor');
      for (const fd of descriptors) closeFd(fd);
      await listening.close();
      side.lost();
      await sleep(1500);
      assert.deepEqual(
        calls.map((call) => call.do),
        ['listen', 'listen', 'stop-listening'],
      );
    } finally {
      closeFd(listener);
      rmSync(folder, { recursive: true });
    }
  });
});

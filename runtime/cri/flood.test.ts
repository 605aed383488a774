import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { createCriClient } from './client.ts';
import { createCriServer } from './server.ts';
import type { CriServer } from './server.ts';

/** Tests the endpoint while other processes keep opening connections. */

let folder: string;
let socketPath: string;
let server: CriServer;
let codes: unknown[] = [];
const floods: ChildProcess[] = [];
const log = createLogger({
  level: 'info',
  stream: { write: (line) => void codes.push((JSON.parse(line) as { readonly code?: unknown }).code) },
});

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-flood-'));
  socketPath = join(folder, 'a.sock');
  const version = { version: '0.1.0', runtimeName: 'test', runtimeVersion: '1', runtimeApiVersion: 'v1' };
  server = await createCriServer({
    socketPath,
    log,
    imageService: {},
    runtimeService: { version: () => Promise.resolve(version) },
  });
});
afterEach(async () => {
  codes = [];
  for (const child of floods.splice(0)) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
});
after(async () => {
  await server.close({ graceMs: 100 });
  rmSync(folder, { recursive: true });
});

/**
 * Starts a process that opens this many connections and keeps them. @param sends the data that it writes to
 * each
 */
async function flood(connections: number, sends: string): Promise<void> {
  // A full queue refuses at once (connect(2), EAGAIN), so the process retries.
  const script = `const { connect } = require('node:net'); let left = ${connections};
    const next = () => { if (left === 0) return process.stdout.write('all');
      const socket = connect(${JSON.stringify(socketPath)}); let came = false;
      socket.on('error', () => came || setTimeout(next, 5)).resume();
      socket.on('connect', () => { came = true; left -= 1; socket.write(${JSON.stringify(sends)}); next(); }); };
    next();`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  floods.push(child);
  await once(child.stdout, 'data');
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;
/** Pipes of the processes in this test, and connections that are being closed. */
const slack = 40;
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0';

for (const [what, sends] of [
  ['say nothing', ''],
  ['use HTTP/2 and never make a call', preface],
] as const)
  test(`processes whose connections ${what} do not block other clients, and do not end existing connections`, async () => {
    const kubelet = createCriClient(socketPath);
    await kubelet.runtime.version({});
    const idle = descriptors();
    await Promise.all(Array.from({ length: 6 }, () => flood(300, sends)));
    assert.ok(descriptors() <= idle + 1_024 + slack, `${descriptors() - idle} descriptors are held`);
    for (let count = 0; count < 5; count += 1) {
      const client = createCriClient(socketPath);
      assert.equal((await client.runtime.version({}, { timeoutMs: 60_000 })).runtimeName, 'test');
      client.close();
    }
    assert.equal((await kubelet.runtime.version({}, { timeoutMs: 60_000 })).runtimeName, 'test');
    assert.ok(
      codes.filter((code) => code === 'CRI_TOO_MANY_CONNECTIONS').length <= 1,
      'one log line for all of them',
    );
    for (const child of floods) child.kill('SIGKILL');
    for (let waited = 0; descriptors() > idle && waited < 60_000; waited += 20) await pause(20);
    assert.ok(descriptors() <= idle, 'the descriptors were not released');
    kubelet.close();
    await pause(10);
  });

test('a connection that never begins with HTTP/2 is ended, and an idle connection of a client stays', async () => {
  const client = createCriClient(socketPath);
  await client.runtime.version({});
  await pause(300);
  const before = descriptors();
  await flood(100, 'PRI *');
  for (let waited = 0; descriptors() < before + 90 && waited < 60_000; waited += 20) await pause(20);
  assert.ok(descriptors() > before + 90, 'they are accepted');
  for (let waited = 0; descriptors() > before + 10 && waited < 60_000; waited += 100) await pause(100);
  assert.ok(descriptors() <= before + 10, 'they are closed although their process continues');
  assert.equal((await client.runtime.version({}, { timeoutMs: 60_000 })).runtimeName, 'test');
  client.close();
});

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { askDaemon } from './ask.ts';
import { greetingOf, headSize, maxStrings, versions } from './frames.ts';
import { createPluginService } from './plugin-service.ts';
import type { PluginService } from './plugin-service.ts';

/**
 * Many clients of the plugin socket that send nothing, or never finish. All of them are one process here, as
 * a leaking client would be.
 */

const folder = mkdtempSync(join(tmpdir(), 'portcullis-serve-'));
const path = join(folder, 'cni.sock');
let service: PluginService;
const server = createServer((socket) => service.accept(socket));
const open: Socket[] = [];

before(async () => {
  service = createPluginService({
    callPlugin: () => Promise.reject(new Error('nothing is asked of it here')),
    log: { warn: () => undefined, debug: () => undefined },
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});
after(async () => {
  await service.close();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

async function come(...bytes: readonly Buffer[]): Promise<Socket> {
  const socket = connect(path);
  open.push(socket);
  socket.on('error', () => undefined);
  socket.resume();
  await new Promise((resolve) => socket.once('connect', resolve));
  for (const each of bytes) socket.write(each);
  return socket;
}

async function until(what: () => boolean, why: string): Promise<void> {
  for (let waited = 0; !what(); waited += 20) {
    assert.ok(waited < 60_000, why);
    await pause(20);
  }
}

const stillOpen = (): number => open.filter(({ closed }) => !closed).length;
const isAnswered = async (): Promise<void> => assert.equal(await askDaemon(path), undefined);

test('the number of connections that send nothing is limited; they block no caller, and their descriptors are closed', async () => {
  await isAnswered();
  const before = readdirSync('/proc/self/fd').length;
  for (let count = 0; count < 700; count += 1)
    await come(greetingOf(versions.withInput, false).subarray(0, count % 8));
  await isAnswered();
  await until(() => stillOpen() <= 512, 'only as many as the limit of one process stay');
  for (const socket of open) socket.destroy();
  await until(() => readdirSync('/proc/self/fd').length <= before, 'descriptors are as many as before');
});

test('calls without an end use a limited number of bytes in total, and block no caller', async () => {
  const head = Buffer.alloc(headSize);
  Buffer.from('PCTCNI2\0', 'latin1').copy(head);
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(maxStrings), 16);
  const part = Buffer.alloc(maxStrings - 1, 0x61);
  for (let count = 0; count < 20; count += 1) await come(head, part);
  await until(() => stillOpen() <= 10, 'those beyond 64 MiB are cut off');
  for (let count = 0; count < 5; count += 1) await isAnswered();
  for (const socket of open.splice(0)) socket.destroy();
  // The memory is free again once the server has seen the ends of the connections.
  for (let tries = 0; stillOpen() === 0; tries += 1) {
    assert.ok(tries < 200, 'there is room again');
    await come(head, part);
    await pause(300);
  }
});

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { httpRequest } from '../../../base/connections/index.ts';
import { createHttpService } from './http.ts';
import type { Verbs } from './docker-requests.ts';

test('an engine whose leftovers could not be checked ends no process, neither before nor during its calls', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-cnm-http-'));
  const path = join(folder, 'driver.sock');
  const warned: string[] = [];
  const service = createHttpService({
    verbs: {} as Verbs,
    log: {
      debug: () => undefined,
      warn: (_fields: object, message?: string) => void warned.push(message ?? ''),
    },
    onEngine: () => Promise.reject(new Error('its state cannot be read')),
  });
  const server = createServer(service.accept);
  const unhandled: unknown[] = [];
  const note = (thrown: unknown): void => void unhandled.push(thrown);
  process.on('unhandledRejection', note);
  try {
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const silent = connect(path);
    await new Promise((resolve) => silent.once('connect', resolve));
    await sleep(50);
    silent.destroy();
    const answer = await new Promise<string>((resolve) => {
      const call = httpRequest({ socketPath: path, path: '/Plugin.Activate', method: 'POST' }, () =>
        resolve('answered'),
      );
      call.on('error', (error) => resolve(error.message));
      call.end('{}');
    });
    assert.equal(answer, 'socket hang up');
    assert.deepEqual(warned, ['a call of the remote driver failed']);
    assert.deepEqual(unhandled, []);
  } finally {
    process.off('unhandledRejection', note);
    await service.close();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  }
});

test('an incomplete request is cut off in time, an idle connection is kept, and no engine blocks another', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-cnm-http-'));
  const path = join(folder, 'driver.sock');
  const service = createHttpService({
    verbs: {} as Verbs,
    log: { debug: () => undefined, warn: () => undefined },
    onEngine: () => Promise.resolve(),
    silenceMs: 300,
  });
  const server = createServer(service.accept);
  const closed = new Set<number>();
  const open: Socket[] = [];
  const come = async (index: number, text: string): Promise<void> => {
    const socket = connect(path);
    open.push(socket);
    socket.on('error', () => undefined).on('close', () => closed.add(index));
    socket.resume();
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(text);
  };
  const head = 'POST /Plugin.Activate HTTP/1.1\r\nHost: a\r\n';
  const statusOf = (): Promise<number> =>
    new Promise((resolve) => {
      httpRequest({ socketPath: path, path: '/No.Such', method: 'POST' }, (response) =>
        resolve(response.resume().statusCode ?? 0),
      ).end('{}');
    });
  try {
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await come(0, head);
    await come(1, `${head}Content-Length: 10\r\n\r\n{}`);
    await come(2, `${head.replace('Plugin.Activate', 'No.Such')}Content-Length: 2\r\n\r\n{}`);
    for (let waited = 0; waited < 60_000 && closed.size < 2; waited += 20) await sleep(20);
    assert.deepEqual([...closed].sort(), [0, 1]);
    const descriptors = readdirSync('/proc/self/fd').length;
    for (let index = 3; index < 400; index += 1) await come(index, '');
    assert.equal(await statusOf(), 404);
    for (
      let waited = 0;
      waited < 10_000 && open.filter(({ destroyed }) => !destroyed).length > 128;
      waited += 20
    )
      await sleep(20);
    assert.ok(open.filter(({ destroyed }) => !destroyed).length <= 128, 'of one process');
    for (const socket of open) socket.destroy();
    for (let waited = 0; waited < 60_000 && readdirSync('/proc/self/fd').length > descriptors; waited += 20)
      await sleep(20);
    assert.ok(readdirSync('/proc/self/fd').length <= descriptors, 'descriptors are given back');
  } finally {
    await service.close();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  }
});

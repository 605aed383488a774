import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpService } from './http.ts';
import type { Verbs } from './verbs.ts';

test('an engine that could not be looked after ends no process: not before it calls, and not when it calls', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-cnm-http-'));
  const path = join(folder, 'driver.sock');
  const warned: string[] = [];
  const service = createHttpService({
    verbs: {} as Verbs,
    log: { debug: () => undefined, warn: (_fields: object, message?: string) => void warned.push(message ?? '') },
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
      const call = request({ socketPath: path, path: '/Plugin.Activate', method: 'POST' }, () => resolve('answered'));
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

import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { closeFd, openPipe } from '../../base/kernel/index.ts';
import { parseDeclaration } from '../../base/protobuf/index.ts';
import { serveTtrpc, ttrpcHandler, ttrpcMethods } from '../../base/ttrpc/index.ts';
import declaration from './contract.json' with { type: 'json' };
import { startTaskCommand } from './exec.ts';

/** O_PATH, with which the library of Go shims opens an input before it answers. It reads it later. */
const pathOnly = 0o10_000_000;

/**
 * A shim in this process that answers Start when the test asks it to.
 * @param end the end of the command, for which Wait waits
 */
async function slowShim(t: TestContext, end: Promise<void> = Promise.resolve()) {
  const bundle = mkdtempSync(join(tmpdir(), 'pc-shim-exec-'));
  const socket = join(bundle, 'shim.sock');
  const calls: string[] = [];
  const begin = Promise.withResolvers<undefined>();
  const asked = { stdin: 0, stdout: '' };
  const method = ttrpcMethods(parseDeclaration(declaration));
  const on = (
    name: string,
    act: (request: { stdin?: string; stdout?: string }) => unknown = () => undefined,
  ) =>
    ttrpcHandler<object, object>(method('Task', name), async (request) => {
      calls.push(name);
      await act(request);
      return {};
    });
  const server = createServer((connection) => {
    const handlers = [
      on('State'),
      on('Exec', ({ stdin = '', stdout = '' }) => {
        asked.stdout = stdout;
        if (stdin !== '') asked.stdin = openSync(stdin, pathOnly);
      }),
      on('Start', () => begin.promise),
      on('Wait', () => end),
      ...['Kill', 'Delete', 'CloseIO'].map((name) => on(name)),
    ];
    serveTtrpc(connection, handlers, { name: 'the test' });
  });
  server.listen(socket);
  await once(server, 'listening');
  writeFileSync(join(bundle, 'shim.json'), JSON.stringify({ socket, version: 3 }));
  t.after(() => {
    server.close();
    rmSync(bundle, { recursive: true });
  });
  return { bundle, calls, asked, begin: () => begin.resolve(undefined) };
}

test('a command that its shim starts too late is ended, and writes into no file of the daemon', async (t) => {
  const shim = await slowShim(t);
  const output = openPipe();
  const started = startTaskCommand({
    ...{ container: 'c', bundle: shim.bundle, name: 'exec-1', process: '{}', terminal: false },
    check: () => Promise.resolve(),
    descriptors: [null, output.write, null],
    timeoutMs: 200,
  });
  await assert.rejects(started, { code: 'RUNTIME_EXEC_TIMEOUT', kind: 'deadline' });
  closeFd(output.write);
  closeFd(output.read);
  // The numbers of the pipe now belong to other files.
  const file = join(shim.bundle, 'database');
  const others = Array.from({ length: 8 }, () => openSync(file, 'w'));
  assert.ok(others.includes(output.write));
  try {
    // As a shim opens the streams of a command.
    appendFileSync(openSync(shim.asked.stdout, 'a'), 'output of the command');
  } catch {
    // Nobody reads the pipe any more.
  }
  assert.equal(readFileSync(file, 'utf8'), '');
  assert.deepEqual(shim.calls, ['State', 'Exec', 'Start']);
  shim.begin();
  for (let waited = 0; waited < 10_000 && existsSync(shim.asked.stdout); waited += 10) await pause(10);
  assert.ok(!existsSync(shim.asked.stdout), 'the pipe is closed');
  assert.deepEqual(shim.calls.slice(3), ['Kill', 'Wait', 'Delete']);
  for (const fd of others) closeSync(fd);
});

test('input that ends before the shim opens it reaches the command', async (t) => {
  const end = Promise.withResolvers<void>();
  const shim = await slowShim(t, end.promise);
  const input = openPipe();
  shim.begin();
  const command = await startTaskCommand({
    ...{ container: 'c', bundle: shim.bundle, name: 'exec-1', process: '{}', terminal: false },
    check: () => Promise.resolve(),
    descriptors: [input.read, null, null],
  });
  closeFd(input.read);
  writeSync(input.write, 'all of it');
  closeFd(input.write);
  assert.equal(readFileSync(`/proc/self/fd/${shim.asked.stdin}`, 'utf8'), 'all of it');
  const held = readdirSync('/proc/self/fd').length;
  end.resolve();
  await command.exited;
  for (let waited = 0; waited < 10_000 && readdirSync('/proc/self/fd').length >= held; waited += 10)
    await pause(10);
  assert.ok(readdirSync('/proc/self/fd').length < held, 'the pipe is closed with the command');
  closeSync(shim.asked.stdin);
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { createCriServer } from './server.ts';
import type { CriServer } from './server.ts';

// Tests the socket of the endpoint: which users can reach it, which are accepted, and who owns it.

let folder: string;
let socketPath: string;
let logged: Record<string, unknown>[] = [];
const log = createLogger({
  level: 'debug',
  stream: { write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) },
});
let server: CriServer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-socket-'));
  socketPath = join(folder, 'a.sock');
  server = await createCriServer({ socketPath, log, imageService: {}, runtimeService: {} });
});
beforeEach(() => {
  logged = [];
});
after(async () => {
  await server.close({ graceMs: 100 });
  await rm(folder, { recursive: true });
});

async function failureOf(call: Promise<unknown>): Promise<PortcullisError> {
  const thrown: unknown = await call.then(
    () => assert.fail('it succeeded'),
    (error: unknown) => error,
  );
  assert.ok(isPortcullisError(thrown), String(thrown));
  return thrown;
}

/**
 * Connects as a user and returns the result: `served` (the server's HTTP/2 settings arrived), `closed` or an
 * errno.
 */
async function connectAs(uid: number, gid: number): Promise<string> {
  const script = `process.setgroups([]); process.setgid(${gid}); process.setuid(${uid});
    const socket = require('node:net').connect(${JSON.stringify(socketPath)});
    const say = (text) => { process.stdout.write(text); process.exit(0); };
    socket.on('connect', () => socket.write('PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0'));
    socket.on('data', () => say('served')); socket.on('close', () => say('closed')); socket.on('error', (error) => say(error.code));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await once(child, 'close');
  return said;
}

test('the socket is 0660 root:root: another user cannot connect', async () => {
  const { mode, uid, gid } = statSync(socketPath);
  assert.deepEqual([mode & 0o777, uid, gid], [0o660, 0, 0]);
  await chmod(folder, 0o755);
  assert.equal(await connectAs(65534, 65534), 'EACCES');
  assert.equal(await connectAs(0, 0), 'served');
});

test('a client that gets past the file mode with a wrong uid is refused and logged', async () => {
  await chmod(folder, 0o755);
  await chmod(socketPath, 0o666);
  assert.match(await connectAs(65534, 65534), /^(closed|ECONNRESET|EPIPE)$/);
  const line = logged.find((entry) => entry.code === 'CRI_PEER_REFUSED');
  assert.equal((line?.peer as { uid: number }).uid, 65534);
  await chmod(socketPath, 0o660);
});

test('configured uids and gids are accepted', async () => {
  await chmod(folder, 0o755);
  const first = socketPath;
  socketPath = join(folder, 'b.sock');
  const other = await createCriServer({
    socketPath,
    log,
    imageService: {},
    runtimeService: {},
    peers: { uids: [65533], gids: [65534] },
  });
  try {
    assert.equal(statSync(socketPath).gid, 65534);
    assert.equal(await connectAs(1234, 65534), 'served');
    await chmod(socketPath, 0o666);
    assert.equal(await connectAs(65533, 1234), 'served');
    assert.match(await connectAs(1234, 1234), /^(closed|ECONNRESET|EPIPE)$/);
  } finally {
    await other.close();
    socketPath = first;
  }
});

test('a socket with a listener is not replaced, and a socket without a listener is', async () => {
  const options = { log, imageService: {}, runtimeService: {} };
  assert.equal((await failureOf(createCriServer({ ...options, socketPath }))).code, 'CRI_SOCKET_IN_USE');
  const stale = join(folder, 'stale.sock');
  const script = `require('node:net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', script]), 'close');
  assert.ok(existsSync(stale));
  await (await createCriServer({ ...options, socketPath: stale })).close();
  assert.equal(existsSync(stale), false);
  writeFileSync(stale, 'text');
  assert.equal(
    (await failureOf(createCriServer({ ...options, socketPath: stale }))).code,
    'CRI_SOCKET_OCCUPIED',
  );
  assert.equal(
    (await failureOf(createCriServer({ ...options, socketPath: `/tmp/${'x'.repeat(120)}` }))).code,
    'CRI_SOCKET_PATH',
  );
  assert.equal(
    (await failureOf(createCriServer({ ...options, socketPath: '/proc/x/y.sock' }))).code,
    'CRI_SOCKET_LISTEN',
  );
});

test("a successor's socket with the same name stays when we close ours", async () => {
  const path = join(folder, 'c.sock');
  const first = await createCriServer({ socketPath: path, log, imageService: {}, runtimeService: {} });
  await rm(path);
  const second = createServer().listen(path);
  await once(second, 'listening');
  await first.close();
  assert.ok(existsSync(path));
  await new Promise((resolve) => second.close(resolve));
});

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createHttpServer } from '../../../../base/connections/index.ts';
import type { HealthCheck } from '../../model/model.ts';
import { probe } from './probe.ts';

type Result = Awaited<ReturnType<typeof probe>>;

const folder = mkdtempSync(join(tmpdir(), 'portcullis-probe-'));
const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

const common = { intervalSeconds: 1, timeoutSeconds: 30, failures: 1, successes: 1 };
const at = (port: number): { address: string; port: number } => ({ address: '127.0.0.1', port });
async function listening(server: Server): Promise<number> {
  servers.push(server.unref());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
/** Returns a port without a listener. */
async function closedPort(): Promise<number> {
  const server = createServer();
  const port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('tcp: an accepted connection is healthy, a refused one is not', async () => {
  assert.equal(
    await probe({ ...common, kind: 'tcp' }, at(await listening(createServer((socket) => socket.destroy())))),
    undefined,
  );
  assert.match(String(await probe({ ...common, kind: 'tcp' }, at(await closedPort()))), /ECONNREFUSED/u);
});

test('http: the status for the configured path and host decides; redirects are not followed, and bodies are not awaited', async () => {
  const asked: string[] = [];
  const server = createHttpServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.host}`);
    const status = Number(request.url?.slice(1));
    response.writeHead(Number.isNaN(status) ? 200 : status, status === 302 ? { location: '/500' } : {});
    // A body without an end.
    response.flushHeaders();
  });
  const port = await listening(server);
  const http = (path: string, status: readonly number[] = [], host?: string): Promise<Result> =>
    probe({ ...common, kind: 'http', path, status, ...(host !== undefined && { host }) }, at(port));
  assert.equal(await http('/healthz', [], 'web.example.com'), undefined);
  assert.deepEqual(asked, ['GET /healthz web.example.com']);
  for (const [status, outcome] of [
    [204, undefined],
    [302, undefined],
    [404, 'it answered 404'],
    [503, 'it answered 503'],
  ] as const)
    assert.equal(await http(`/${status}`), outcome);
  assert.equal(await http('/503', [503, 504]), undefined);
  assert.equal(await http('/200', [204]), 'it answered 200');
  assert.match(
    String(await probe({ ...common, kind: 'http', path: '/', status: [] }, at(await closedPort()))),
    /ECONNREFUSED/u,
  );
});

test('http: unhealthy without a valid answer: no answer in time, another protocol, endless headers, a closed connection', async () => {
  const answering = async (text: string): Promise<Result> => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      if (text === '') return;
      socket.once('data', () => socket.write(text, () => text === 'bye' && socket.destroy()));
    });
    const check: HealthCheck = {
      ...common,
      timeoutSeconds: text === '' ? 0.2 : 30,
      kind: 'http',
      path: '/',
      status: [],
    };
    return probe(check, at(await listening(server)));
  };
  assert.equal(await answering(''), 'no answer within 0.2 s');
  assert.match(String(await answering('SSH-2.0-OpenSSH_9.2\r\n')), /Parse Error/u);
  assert.match(String(await answering(`HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(50_000)}`)), /overflow/u);
  assert.match(String(await answering('bye')), /Parse Error|hang up|ECONNRESET/u);
  assert.equal(
    await answering('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
    'it answered 101',
  );
});

test('exec: status 0 is healthy; the environment of the program has the backend and nothing of our environment', async () => {
  const program = join(folder, 'check');
  const reported = join(folder, 'environment');
  writeFileSync(program, `#!/bin/sh\nenv > ${reported}\nexit $1\n`, { mode: 0o755 });
  const exec = (command: readonly string[]): Promise<Result> =>
    probe({ ...common, kind: 'exec', command }, at(8080));
  assert.equal(await exec([program, '0']), undefined);
  // Names that the shell itself sets, and one that Node passes to every child while coverage is measured.
  const names = readFileSync(reported, 'utf8')
    .split('\n')
    .filter((line) => /^(?!PWD|SHLVL|_=|OLDPWD|NODE_V8_COVERAGE)/u.test(line) && line !== '');
  assert.deepEqual(names.toSorted(), [
    'BACKEND_ADDRESS=127.0.0.1',
    'BACKEND_PORT=8080',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  ]);
  assert.equal(await exec([program, '3']), 'the program ended with status 3');
  assert.equal(await exec([program, '137']), 'the program ended with status 137, or was killed');
  writeFileSync(join(folder, 'text'), 'no program', { mode: 0o644 });
  assert.match(String(await exec([join(folder, 'text')])), /status 126: it cannot be executed/u);
  assert.match(String(await exec([join(folder, 'nothing')])), /status 127: it was not found/u);
});

test('exec: a program that does not end is killed with its children, also when it ignores signals', async () => {
  const program = join(folder, 'stays');
  const child = join(folder, 'child');
  writeFileSync(program, `#!/bin/sh\ntrap '' TERM INT HUP\nsleep 600 &\necho $! > ${child}\nwait\nwait\n`, {
    mode: 0o755,
  });
  assert.equal(
    await probe({ ...common, timeoutSeconds: 1, kind: 'exec', command: [program] }, at(80)),
    'the program did not end within 1 s',
  );
  const pid = readFileSync(child, 'utf8').trim();
  const isSleeping = (): boolean => {
    try {
      return /^sleep/u.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
    } catch {
      return false;
    }
  };
  for (let time = 0; time < 300 && isSleeping(); time += 1) await pause(100);
  assert.ok(!isSleeping());
});

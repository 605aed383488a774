import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { isPortcullisError } from '../../base/errors/index.ts';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { createHttpServer } from '../../base/connections/index.ts';
import { runStreamedCommand } from './command-client.ts';

const [stdoutChannel, statusChannel] = [1, 3];
const message = (channel: number, text: string): Buffer =>
  Buffer.concat([Buffer.from([channel]), Buffer.from(text)]);

/** Serves one streamed command. @returns its URL */
async function served(
  t: TestContext,
  serve: (socket: WebSocket) => void,
  protocols: readonly string[] = ['v5.channel.k8s.io'],
): Promise<string> {
  const handleProtocols = (asked: Set<string>): string | false =>
    protocols.find((one) => asked.has(one)) ?? false;
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols });
  server.on('connection', serve);
  await once(server, 'listening');
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/exec/token`;
}

const isFailed = (why: RegExp) => (thrown: unknown) =>
  isPortcullisError(thrown) && thrown.code === 'CRI_STREAM_FAILED' && why.test(thrown.failure.why);

test('an input that cannot be read ends the command with the reason', async (t) => {
  const url = await served(t, () => undefined);
  const stdin = new Readable({ read: () => stdin.destroy(new Error('EBADF: bad file descriptor')) });
  await assert.rejects(
    runStreamedCommand(url, { stdin, stdout: new PassThrough(), stderr: new PassThrough() }),
    isFailed(/standard input cannot be read: .*EBADF/u),
  );
});

test('the start is reported only after the daemon has accepted the command', async (t) => {
  const began: string[] = [];
  const url = await served(t, (socket) => {
    began.push('accepted');
    socket.send(message(statusChannel, '{"status":"Success"}'));
    socket.close();
  });
  const onStart = (): void => void began.push('started');
  assert.equal(
    await runStreamedCommand(url, { stdout: new PassThrough(), stderr: new PassThrough(), onStart }),
    0,
  );
  assert.deepEqual(began, ['accepted', 'started']);
  const refused: string[] = [];
  await assert.rejects(
    runStreamedCommand('http://127.0.0.1:1/exec/token', {
      stdout: new PassThrough(),
      stderr: new PassThrough(),
      onStart: () => void refused.push('started'),
    }),
    isFailed(/ECONNREFUSED/u),
  );
  assert.deepEqual(refused, []);
});

test('a slow reader gets all output, and only one listener waits for it', async (t) => {
  const url = await served(t, (socket) => {
    for (let line = 0; line < 200; line += 1) socket.send(message(stdoutChannel, `line ${line}\n`));
    socket.send(message(statusChannel, '{"status":"Success"}'));
    socket.close();
  });
  let most = 0;
  let text = '';
  const stdout = new Writable({
    highWaterMark: 16,
    write(chunk: Buffer, _encoding, done) {
      most = Math.max(most, stdout.listenerCount('drain'));
      text += chunk.toString();
      setTimeout(done, 1);
    },
  });
  assert.equal(await runStreamedCommand(url, { stdout, stderr: new PassThrough() }), 0);
  stdout.end();
  await once(stdout, 'finish');
  assert.equal(text.split('\n').length, 201);
  assert.ok(most <= 2, `${most} listeners`);
});

for (const [what, status] of [
  ['null', 'null'],
  ['a null cause', '{"status":"Failure","details":{"causes":[null]}}'],
  [
    'an exit code above 255',
    '{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"999"}]}}',
  ],
] as const)
  test(`a status of ${what} is reported as a failure`, async (t) => {
    const url = await served(t, (socket) => {
      socket.send(message(statusChannel, status));
      socket.close();
    });
    await assert.rejects(
      runStreamedCommand(url, { stdout: new PassThrough(), stderr: new PassThrough() }),
      isFailed(/status/u),
    );
  });

test('a command that cannot start is reported by its cause, and not by the address of the stream', async (t) => {
  const url = await served(t, (socket) => {
    const why = 'error executing command in container: executable file `nope` not found in $PATH';
    const status = { status: 'Failure', message: `Internal error occurred: ${why}` };
    socket.send(message(statusChannel, JSON.stringify(status)));
    socket.close();
  });
  await assert.rejects(
    runStreamedCommand(url, { stdout: new PassThrough(), stderr: new PassThrough() }),
    /^PortcullisError: run a command in the container: executable file `nope` not found in \$PATH; check/u,
  );
});

test('a server without the protocol that ends an input serves commands without one', async (t) => {
  const succeed = (socket: WebSocket): void => {
    socket.send(message(statusChannel, '{"status":"Success"}'));
    socket.close();
  };
  const url = await served(t, succeed, ['v4.channel.k8s.io']);
  const outputs = { stdout: new PassThrough(), stderr: new PassThrough() };
  assert.equal(await runStreamedCommand(url, outputs), 0);
  await assert.rejects(
    runStreamedCommand(url, { ...outputs, stdin: Readable.from([]) }),
    isFailed(/subprotocol/u),
  );
});

test('where no connection can be made, the command runs in the other way, and only there', async (t) => {
  const outputs = { stdout: new PassThrough(), stderr: new PassThrough() };
  const orElse = (): Promise<number> => Promise.resolve(7);
  assert.equal(await runStreamedCommand('http://127.0.0.1:1/exec/token', { ...outputs, orElse }), 7);
  const url = await served(t, (socket) => socket.terminate());
  await assert.rejects(runStreamedCommand(url, { ...outputs, orElse }), isFailed(/ended before/u));
  const other = createHttpServer((_request, response) => response.writeHead(404).end()).listen(
    0,
    '127.0.0.1',
  );
  t.after(() => other.close());
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  await assert.rejects(
    runStreamedCommand(`http://127.0.0.1:${port}/exec/token`, { ...outputs, orElse }),
    isFailed(/404/u),
  );
});

test('where the certificate of the server is not trusted, the command runs in the other way, and only there', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-streams-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { key, certificate } = makeCertificate(folder, 'server');
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(certificate) });
  const asked: string[] = [];
  server.on('upgrade', ({ url }, socket) => {
    asked.push(url ?? '');
    socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const code = await runStreamedCommand(
    `https://127.0.0.1:${(server.address() as AddressInfo).port}/exec/token`,
    { stdout: new PassThrough(), stderr: new PassThrough(), orElse: () => Promise.resolve(7) },
  );
  assert.deepEqual([code, asked], [7, []]);
});

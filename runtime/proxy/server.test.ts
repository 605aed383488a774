import assert from 'node:assert/strict';
import { Client, credentials, Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { ServerUnaryCall, ServerWritableStream, sendUnaryData, ServiceError } from '@grpc/grpc-js';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2, constants, createServer } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { connectionsTo } from './backend-lock.ts';
import type { Interceptors } from './calls.ts';
import { createProxyServer } from './server.ts';

const bytes = (value: Buffer): Buffer => value;
const none: Interceptors = { calls: {}, streams: {} };

interface Backend {
  readonly calls: Record<string, { readonly metadata: Metadata; readonly deadline: unknown }>;
  /** Resolves with the names of calls that were cancelled. */
  readonly cancelled: Promise<string>;
  /** Answers the call that waits for it. */
  answerWaiting(): void;
  /** How many messages of the endless stream were written. */
  written(): number;
  stop(): void;
}

/** A gRPC server with the methods that these tests need, some of which no version of the CRI has. */
async function startBackend(socket: string): Promise<Backend> {
  const server = new Server({ 'grpc.max_receive_message_length': -1 });
  const calls: Record<string, { readonly metadata: Metadata; readonly deadline: unknown }> = {};
  const cancelled = Promise.withResolvers<string>();
  const waiting = Promise.withResolvers<undefined>();
  let written = 0;
  const unary =
    (name: string, answer: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => void) =>
    (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>): void => {
      calls[name] = { metadata: call.metadata, deadline: call.getDeadline() };
      // A server of grpc-js reports it at the end of every call.
      if (name === 'Hangs') call.once('cancelled', () => cancelled.resolve(name));
      answer(call, done);
    };
  const define = (path: string, responseStream: boolean) => ({
    ...{ path, requestStream: false, responseStream },
    ...{ requestSerialize: bytes, requestDeserialize: bytes },
    ...{ responseSerialize: bytes, responseDeserialize: bytes },
  });
  server.addService(
    {
      Future: define('/runtime.v1.RuntimeService/Future', false),
      Fails: define('/runtime.v1.RuntimeService/Fails', false),
      Hangs: define('/runtime.v1.RuntimeService/Hangs', false),
      Waits: define('/runtime.v1.RuntimeService/Waits', false),
      Events: define('/runtime.v1.RuntimeService/Events', true),
      Endless: define('/runtime.v1.RuntimeService/Endless', true),
      Other: define('/containerd.services.images.v1.Images/Create', false),
    },
    {
      Future: unary('Future', (call, done) => {
        const trailer = new Metadata();
        trailer.set('x-trailer', 'last');
        const first = new Metadata();
        first.set('x-first', 'one');
        call.sendMetadata(first);
        done(null, Buffer.concat([Buffer.from('echo '), call.request]), trailer);
      }),
      Fails: unary('Fails', (_call, done) => {
        const metadata = new Metadata();
        metadata.set('grpc-status-details-bin', Buffer.from([1, 2, 255]));
        done({ code: status.FAILED_PRECONDITION, details: 'not now: 100% ü', metadata });
      }),
      Hangs: unary('Hangs', () => undefined),
      Waits: unary('Waits', (call, done) => void waiting.promise.then(() => done(null, call.request))),
      Events: (call: ServerWritableStream<Buffer, Buffer>) => {
        for (const text of ['a', 'b', 'c']) call.write(Buffer.from(text));
        call.end();
      },
      Endless: (call: ServerWritableStream<Buffer, Buffer>) => {
        const chunk = Buffer.alloc(64 * 1024);
        call.once('cancelled', () => cancelled.resolve('Endless'));
        const write = (): void => {
          while (!call.cancelled && call.write(chunk)) written += 1;
          if (!call.cancelled) call.once('drain', write);
        };
        write();
      },
      Other: unary('Other', (_call, done) => done(null, Buffer.alloc(0))),
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  return {
    calls,
    cancelled: cancelled.promise,
    answerWaiting: () => waiting.resolve(undefined),
    written: () => written,
    stop: () => server.forceShutdown(),
  };
}

async function eventsOf(client: Client): Promise<readonly string[]> {
  const stream = client.makeServerStreamRequest(
    '/runtime.v1.RuntimeService/Events',
    bytes,
    bytes,
    Buffer.alloc(0),
  );
  const found: string[] = [];
  for await (const message of stream) found.push(String(message));
  return found;
}

async function setUp(context: TestContext, interceptors = none, more: { lastingMs?: number } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'pc-proxy-'));
  const backend = await startBackend(join(folder, 'b.sock'));
  const proxy = await createProxyServer({
    socket: join(folder, 'p.sock'),
    backend: join(folder, 'b.sock'),
    peers: { uids: [], gids: [] },
    interceptors,
    log: createLogger({ level: 'silent' }),
    ...more,
  });
  const client = new Client(`unix:${join(folder, 'p.sock')}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
    'grpc.enable_retries': 0,
  });
  context.after(async () => {
    client.close();
    await proxy.close(0);
    backend.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const call = (
    path: string,
    request: Buffer,
    metadata = new Metadata(),
    options: object = {},
  ): Promise<{
    readonly error: ServiceError | null;
    readonly answer: Buffer | undefined;
    readonly first: Metadata;
  }> =>
    new Promise((resolve) => {
      let first = new Metadata();
      client
        .makeUnaryRequest(path, bytes, bytes, request, metadata, options, (error, answer) =>
          resolve({ error, answer, first }),
        )
        .on('metadata', (found) => (first = found));
    });
  return { backend, socket: join(folder, 'b.sock'), proxy, client, call };
}

it('counts the open connections to the backend, and not the clients', async (t) => {
  const { proxy, call, socket } = await setUp(t);
  const idle = connectHttp2('http://localhost', {
    createConnection: () => connect(join(dirname(socket), 'p.sock')),
  });
  t.after(() => idle.destroy());
  await once(idle, 'remoteSettings');
  assert.equal(proxy.backendConnections(), 0);
  await call('/runtime.v1.RuntimeService/Future', Buffer.from('x'));
  assert.equal(proxy.backendConnections(), 1);
  assert.equal(connectionsTo(socket), 1);
});

describe('the calls that the proxy passes on', () => {
  it('forwards an unknown call with headers, deadline and trailers', async (t) => {
    const { backend, call } = await setUp(t);
    const metadata = new Metadata();
    metadata.set('x-custom', 'value');
    metadata.set('x-binary-bin', Buffer.from([0, 254, 255]));
    const before = Date.now();
    const { error, answer, first } = await call(
      '/runtime.v1.RuntimeService/Future',
      Buffer.from('x'),
      metadata,
      {
        deadline: before + 30_000,
      },
    );
    assert.equal(error, null);
    assert.equal(answer?.toString(), 'echo x');
    assert.deepEqual(first.get('x-first'), ['one']);
    const seen = backend.calls['Future'];
    assert.deepEqual(seen?.metadata.get('x-custom'), ['value']);
    assert.deepEqual(seen.metadata.get('x-binary-bin'), [Buffer.from([0, 254, 255])]);
    const deadline = seen.deadline instanceof Date ? seen.deadline.getTime() : Number(seen.deadline);
    assert.ok(deadline > before && deadline < before + 60_000);
  });

  it('forwards large messages in both directions', async (t) => {
    const { call } = await setUp(t);
    const large = Buffer.alloc(3 * 1024 * 1024, 7);
    const { answer } = await call('/runtime.v1.RuntimeService/Future', large);
    assert.ok(answer?.equals(Buffer.concat([Buffer.from('echo '), large])));
  });

  it('forwards a status with its message and details', async (t) => {
    const { call } = await setUp(t);
    const { error } = await call('/runtime.v1.RuntimeService/Fails', Buffer.alloc(0));
    assert.equal(error?.code, 9);
    assert.equal(error.details, 'not now: 100% ü');
    assert.deepEqual(error.metadata.get('grpc-status-details-bin'), [Buffer.from([1, 2, 255])]);
  });

  it('passes on streams', async (t) => {
    const { client } = await setUp(t);
    assert.deepEqual(await eventsOf(client), ['a', 'b', 'c']);
  });

  it('changes the messages of a stream', async (t) => {
    const { client } = await setUp(t, {
      calls: {},
      streams: { 'RuntimeService/Events': (message) => Buffer.from(`<${message.toString()}>`) },
    });
    assert.deepEqual(await eventsOf(client), ['<a>', '<b>', '<c>']);
  });

  it('makes the backend wait for a slow reader, and cancels its call when the reader disconnects', async (t) => {
    const { backend, client, call } = await setUp(t);
    const stream = client.makeServerStreamRequest(
      '/runtime.v1.RuntimeService/Endless',
      bytes,
      bytes,
      Buffer.alloc(0),
    );
    stream.on('error', () => undefined);
    await once(stream, 'readable');
    // Other calls of the same connection are answered meanwhile.
    for (let round = 0; round < 20; round += 1)
      assert.equal((await call('/runtime.v1.RuntimeService/Future', Buffer.from('y'))).error, null);
    const held = backend.written() * 64 * 1024;
    assert.ok(held < 16 * 1024 * 1024, `${held} bytes were taken from the backend`);
    stream.cancel();
    assert.equal(await backend.cancelled, 'Endless');
  });

  it('forwards a cancellation', async (t) => {
    const { backend, client } = await setUp(t);
    const call = client.makeUnaryRequest(
      '/runtime.v1.RuntimeService/Hangs',
      bytes,
      bytes,
      Buffer.from('x'),
      () => undefined,
    );
    while (backend.calls['Hangs'] === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    call.cancel();
    assert.equal(await backend.cancelled, 'Hangs');
  });

  it('refuses other services of the same socket', async (t) => {
    const { backend, call } = await setUp(t);
    const { error } = await call('/containerd.services.images.v1.Images/Create', Buffer.alloc(0));
    assert.equal(error?.code, 12);
    assert.match(error.details, /PROXY_OTHER_SERVICE/);
    assert.deepEqual(backend.calls, {});
  });

  it('answers UNAVAILABLE without a backend, and continues with the next backend', async (t) => {
    const { backend, socket, call } = await setUp(t);
    assert.equal((await call('/runtime.v1.RuntimeService/Future', Buffer.from('x'))).error, null);
    backend.stop();
    const { error } = await call('/runtime.v1.RuntimeService/Future', Buffer.from('x'));
    assert.equal(error?.code, 14);
    assert.match(error.details, /PROXY_BACKEND_UNREACHABLE/);
    rmSync(socket, { force: true });
    const next = await startBackend(socket);
    t.after(() => next.stop());
    assert.equal((await call('/runtime.v1.RuntimeService/Future', Buffer.from('x'))).error, null);
  });
});

describe('a backend that cancels a call', () => {
  const read: Interceptors = {
    calls: { 'RuntimeService/Future': (call) => call.forward(call.request) },
    streams: {},
  };
  for (const [how, interceptors] of Object.entries({ 'passes on': none, reads: read }))
    it(`has met its deadline if it has one: a call that the proxy ${how}`, async (t) => {
      const { backend, socket, call } = await setUp(t, interceptors);
      backend.stop();
      const cancelling = createServer();
      cancelling.on('stream', (stream) => stream.close(constants.NGHTTP2_CANCEL));
      t.after(() => cancelling.close());
      await once(cancelling.listen(socket), 'listening');
      const codeOf = async (options: object): Promise<number | undefined> =>
        (await call('/runtime.v1.RuntimeService/Future', Buffer.from('x'), new Metadata(), options)).error
          ?.code;
      assert.equal(await codeOf({ deadline: Date.now() + 600_000 }), status.DEADLINE_EXCEEDED);
      assert.equal(await codeOf({}), status.UNAVAILABLE);
    });

  for (const [how, interceptors] of Object.entries({ 'passes on': none, reads: read }))
    it(`is unavailable if it ends with its connection: a call that the proxy ${how}`, async (t) => {
      const { backend, socket, call } = await setUp(t, interceptors);
      backend.stop();
      const dying = createServer();
      dying.on('stream', (stream) => stream.session?.socket.destroy());
      dying.on('session', (session) => session.on('error', () => undefined));
      t.after(() => dying.close());
      await once(dying.listen(socket), 'listening');
      const options = { deadline: Date.now() + 600_000 };
      const { error } = await call(
        '/runtime.v1.RuntimeService/Future',
        Buffer.from('x'),
        new Metadata(),
        options,
      );
      assert.equal(error?.code, status.UNAVAILABLE);
    });
});

describe('the calls that the proxy reads', () => {
  const forward: Interceptors = {
    calls: {
      'RuntimeService/Future': (call) => call.forward(Buffer.from(`[${call.request.toString()}]`)),
      'RuntimeService/Fails': (call) => call.forward(call.request),
      'RuntimeService/Hangs': (call) => call.forward(call.request),
    },
    streams: {},
  };

  it('forwards the request as the interceptor changed it', async (t) => {
    const { call } = await setUp(t, forward);
    const { answer } = await call('/runtime.v1.RuntimeService/Future', Buffer.from('x'));
    assert.equal(answer?.toString(), 'echo [x]');
  });

  it("forwards the backend's status, and ends at the deadline", async (t) => {
    const { call } = await setUp(t, forward);
    const { error } = await call('/runtime.v1.RuntimeService/Fails', Buffer.alloc(0));
    assert.equal(error?.code, 9);
    assert.deepEqual(error.metadata.get('grpc-status-details-bin'), [Buffer.from([1, 2, 255])]);
    const late = await call('/runtime.v1.RuntimeService/Hangs', Buffer.alloc(0), new Metadata(), {
      deadline: Date.now() + 200,
    });
    assert.equal(late.error?.code, 4);
  });

  it('gets the answer of a lasting call after the client has disconnected', async (t) => {
    const aborted = Promise.withResolvers<undefined>();
    const asked = Promise.withResolvers<string>();
    const { backend, client, socket } = await setUp(t, {
      calls: {
        'RuntimeService/Waits': async ({ request, lasting, signal }) => {
          signal.addEventListener('abort', () => aborted.resolve(undefined));
          const answer = await lasting.forward(request);
          asked.resolve(String(await lasting.ask('RuntimeService/Future', answer.message)));
          return answer;
        },
      },
      streams: {},
    });
    const path = '/runtime.v1.RuntimeService/Waits';
    const request = client.makeUnaryRequest(path, bytes, bytes, Buffer.from('x'), () => undefined);
    while (backend.calls['Waits'] === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    request.cancel();
    client.close();
    await aborted.promise;
    backend.answerWaiting();
    assert.equal(await asked.promise, 'echo x');
    while (connectionsTo(socket) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  it('ends a lasting call that the backend never answers after the client has gone', async (t) => {
    const hanging: Interceptors['calls'] = {
      'RuntimeService/Hangs': ({ request, lasting }) => lasting.forward(request),
    };
    const { backend, client } = await setUp(t, { calls: hanging, streams: {} }, { lastingMs: 50 });
    const path = '/runtime.v1.RuntimeService/Hangs';
    const request = client.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), () => undefined);
    while (backend.calls['Hangs'] === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    request.cancel();
    assert.equal(await backend.cancelled, 'Hangs');
  });

  it('refuses a request that is larger than a message of the CRI', async (t) => {
    const { backend, call } = await setUp(t, forward);
    const { error } = await call('/runtime.v1.RuntimeService/Future', Buffer.alloc(17 * 1024 * 1024));
    assert.equal(error?.code, 8);
    assert.deepEqual(backend.calls, {});
  });
});

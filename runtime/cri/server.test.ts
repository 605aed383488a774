import { Client, credentials, Metadata, status as grpcStatus } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import type { ErrorKind } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { createCriClient } from './client.ts';
import type { CriClient } from './client.ts';
import { rpcs } from './contract/services.ts';
import type { RuntimeServiceHandlers } from './handlers.ts';
import { createCriServer } from './server.ts';
import { decodeDetails, detailsKey } from './status-details.ts';
import type { CriServer } from './server.ts';

let folder: string;
let socketPath: string;
let logged: Record<string, unknown>[] = [];
const log = createLogger({
  level: 'debug',
  stream: { write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) },
});
let pulls: Error;
let server: CriServer;
let client: CriClient;
let handlers: { -readonly [Name in keyof RuntimeServiceHandlers]?: RuntimeServiceHandlers[Name] } = {};

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-cri-'));
  socketPath = join(folder, 'a.sock');
  const version: RuntimeServiceHandlers['version'] = (request, context) =>
    (handlers.version ?? (() => Promise.resolve({ version: 'v' })))(request, context);
  server = await createCriServer({
    socketPath,
    log,
    imageService: { pullImage: () => Promise.reject(pulls) },
    runtimeService: {
      version,
      execSync: (request, context) =>
        handlers.execSync?.(request, context) ?? Promise.reject(new Error('no handler')),
      getContainerEvents: (request, context) =>
        (handlers.getContainerEvents as RuntimeServiceHandlers['getContainerEvents'])(request, context),
    },
  });
  client = createCriClient(socketPath);
});
beforeEach(() => {
  handlers = {};
  logged = [];
});
after(async () => {
  client.close();
  await server.close({ graceMs: 100 });
  await rm(folder, { recursive: true });
});

async function failureOf(call: Promise<unknown>): Promise<PortcullisError> {
  const thrown: unknown = await call.then(
    () => assert.fail('the call succeeded'),
    (error: unknown) => error,
  );
  assert.ok(isPortcullisError(thrown), String(thrown));
  return thrown;
}

/** The result that a client without any knowledge of Portcullis gets. */
async function rawCall(path: string, request = Buffer.alloc(0), deadlineMs?: number): Promise<ServiceError> {
  const raw = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
    'grpc.max_send_message_length': -1,
  });
  const same = (bytes: Buffer): Buffer => bytes;
  const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
  const { promise, resolve } = Promise.withResolvers<ServiceError | null>();
  raw.makeUnaryRequest(path, same, same, request, new Metadata(), options, resolve);
  const error = await promise;
  raw.close();
  assert.ok(error, 'the call succeeded');
  return error;
}

test('a call reaches its handler with the peer that the kernel reports', async () => {
  let seen: unknown;
  handlers.version = (request, context) => {
    seen = { request, peer: context.peer, deadline: context.deadline instanceof Date };
    return Promise.resolve({
      version: '0.1.0',
      runtimeName: 'portcullis',
      runtimeVersion: '1',
      runtimeApiVersion: 'v1',
    });
  };
  const answer = await client.runtime.version({ version: 'v1' }, { timeoutMs: 5000 });
  assert.deepEqual(answer, {
    version: '0.1.0',
    runtimeName: 'portcullis',
    runtimeVersion: '1',
    runtimeApiVersion: 'v1',
  });
  assert.deepEqual(seen, {
    request: { version: 'v1' },
    peer: { pid: process.pid, uid: 0, gid: 0 },
    deadline: true,
  });
});

test('each RPC without a handler answers UNIMPLEMENTED with its name', async () => {
  const implemented = ['Version', 'ExecSync', 'GetContainerEvents', 'PullImage'];
  const rest = rpcs.filter((rpc) => !implemented.includes(rpc.name));
  assert.equal(rest.length, 39);
  for (const rpc of rest) {
    const error = await rawCall(rpc.path);
    assert.equal(error.code, grpcStatus.UNIMPLEMENTED, rpc.name);
    assert.match(
      error.details,
      new RegExp(`${rpc.path.slice(1)}: ${rpc.name} is not implemented .*\\[CRI_UNIMPLEMENTED\\]`),
    );
  }
});

const kinds: readonly (readonly [ErrorKind, grpcStatus])[] = [
  ['invalid', grpcStatus.INVALID_ARGUMENT],
  ['not-found', grpcStatus.NOT_FOUND],
  ['already-exists', grpcStatus.ALREADY_EXISTS],
  ['denied', grpcStatus.PERMISSION_DENIED],
  ['undecided', grpcStatus.UNAVAILABLE],
  ['precondition', grpcStatus.FAILED_PRECONDITION],
  ['unavailable', grpcStatus.UNAVAILABLE],
  ['exhausted', grpcStatus.RESOURCE_EXHAUSTED],
  ['deadline', grpcStatus.DEADLINE_EXCEEDED],
  ['cancelled', grpcStatus.CANCELLED],
  ['unimplemented', grpcStatus.UNIMPLEMENTED],
  ['data-loss', grpcStatus.DATA_LOSS],
  ['internal', grpcStatus.INTERNAL],
];
for (const [kind, code] of kinds) {
  test(`a failure of kind ${kind} has status ${grpcStatus[code]}, and our client receives the complete failure`, async () => {
    const failure = {
      code: 'TRUST_X',
      kind,
      attempted: 'pull',
      on: 'a:1',
      why: 'unsigned – ünsigned',
      fix: 'sign it',
      prefix: 'SignatureValidationFailed',
    } as const;
    handlers.version = () =>
      Promise.reject(new PortcullisError({ ...failure, details: { rule: 'policy.yaml:3', tries: 2 } }));
    const raw = await rawCall('/runtime.v1.RuntimeService/Version');
    assert.equal(raw.code, code);
    assert.equal(raw.details, 'SignatureValidationFailed: pull a:1: unsigned – ünsigned; sign it [TRUST_X]');
    const error = await failureOf(client.runtime.version());
    const { requestId } = error.failure.details as { requestId: string };
    assert.match(requestId, /^[0-9a-f]{16}$/);
    assert.deepEqual(error.failure, {
      ...failure,
      details: { rule: 'policy.yaml:3', tries: '2', requestId },
    });
  });
}

test('a request has one id in its context, its log lines and its failure: the caller’s id if it is valid', async () => {
  const raw = new Client(`unix:${socketPath}`, credentials.createInsecure());
  const same = (bytes: Buffer): Buffer => bytes;
  for (const [given, taken] of [
    ['kubelet-7:a.b_c', true],
    ['', false],
    ['x'.repeat(65), false],
    ['two words', false],
    ['-dash', false],
  ] as const) {
    logged = [];
    let seen = '';
    handlers.version = async (_request, { requestId }) => {
      seen = requestId;
      await sleep(1);
      log.info({}, 'deep inside');
      throw new PortcullisError({ code: 'X', kind: 'denied', attempted: 'a', on: 'b', why: 'c', fix: 'd' });
    };
    const metadata = new Metadata();
    if (given !== '') metadata.set('x-request-id', given);
    const { promise, resolve } = Promise.withResolvers<ServiceError | null>();
    raw.makeUnaryRequest(
      '/runtime.v1.RuntimeService/Version',
      same,
      same,
      Buffer.alloc(0),
      metadata,
      resolve,
    );
    const details = decodeDetails((await promise)?.metadata.get(detailsKey)[0] as Buffer)?.failure.details;
    if (taken) assert.equal(seen, given);
    else assert.match(seen, /^[0-9a-f]{16}$/);
    assert.equal(details?.requestId, seen);
    const lines = logged.filter(({ msg }) => msg === 'deep inside' || msg === 'call failed');
    assert.deepEqual(
      lines.map(({ request }) => request),
      [seen, seen],
    );
  }
  raw.close();
});

test('PullImage: a message with a prefix for the kubelet has the status UNKNOWN, because a kubelet reads the message only from this status', async () => {
  const failure = {
    code: 'TRUST_X',
    kind: 'denied',
    attempted: 'pull',
    on: 'a:1',
    why: 'unsigned',
    fix: 'sign it',
  } as const;
  const pull = '/runtime.v1.ImageService/PullImage';
  pulls = new PortcullisError({ ...failure, prefix: 'SignatureValidationFailed' });
  const raw = await rawCall(pull);
  assert.equal(raw.code, grpcStatus.UNKNOWN);
  assert.match(raw.details, /^SignatureValidationFailed: pull a:1: /);
  assert.equal((await failureOf(client.image.pullImage())).kind, 'denied');
  pulls = new PortcullisError(failure);
  assert.equal((await rawCall(pull)).code, grpcStatus.PERMISSION_DENIED);
});

test('an unexpected error of a handler is INTERNAL with a stable code, is logged with its stack, and does not end the daemon', async () => {
  handlers.version = () => {
    throw new TypeError('oops');
  };
  assert.equal((await failureOf(client.runtime.version())).code, 'CRI_INTERNAL');
  const line = logged.find((entry) => entry.msg === 'a handler failed unexpectedly');
  assert.match(JSON.stringify(line), /TypeError: oops\\n +at /);
  handlers.version = () => Promise.resolve({ version: 7 as never });
  assert.equal((await failureOf(client.runtime.version())).failure.on, 'VersionResponse.version');
  // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- a handler may do so
  handlers.version = () => Promise.reject('text');
  assert.equal((await failureOf(client.runtime.version())).failure.why, 'text');
  handlers.version = () => undefined as never;
  assert.equal((await failureOf(client.runtime.version())).code, 'CRI_INTERNAL');
  handlers = {};
  assert.equal((await client.runtime.version()).version, 'v');
});

test('a failure that is too long for a trailer is shortened', async () => {
  const why = 'ü'.repeat(100_000);
  handlers.version = () =>
    Promise.reject(
      new PortcullisError({
        code: 'X_LONG',
        kind: 'denied',
        attempted: 'a',
        on: 'b',
        why,
        fix: 'c',
        details: Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`d${index}`, why])),
      }),
    );
  const error = await failureOf(client.runtime.version());
  assert.equal(error.code, 'X_LONG');
  assert.match(error.failure.why, /^ü{500,}…$/);
});

test('a request that is not a message is INVALID_ARGUMENT', async () => {
  const error = await rawCall('/runtime.v1.RuntimeService/Version', Buffer.from('0aff', 'hex'));
  assert.equal(error.code, grpcStatus.INVALID_ARGUMENT);
  assert.match(error.details, /CRI_BAD_REQUEST/);
});

test('cancelling aborts the signal of the handler', async () => {
  const { promise: aborted, resolve } = Promise.withResolvers<unknown>();
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  handlers.version = async (_, { signal }) => {
    signal.addEventListener('abort', () => resolve(signal.reason));
    start();
    await aborted;
    return {};
  };
  const abort = new AbortController();
  const call = failureOf(client.runtime.version({}, { signal: abort.signal }));
  await started;
  abort.abort();
  assert.equal((await call).kind, 'cancelled');
  assert.equal(((await aborted) as PortcullisError).code, 'CRI_CANCELLED');
});

test('a lost connection aborts the signal of the handler', async () => {
  const { promise: aborted, resolve } = Promise.withResolvers<unknown>();
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  handlers.version = async (_, { signal }) => {
    signal.addEventListener('abort', () => resolve(signal.reason));
    start();
    await aborted;
    return {};
  };
  const session = connectHttp2('http://localhost', { createConnection: () => connect(socketPath) });
  session.on('error', () => undefined);
  const call = session.request({
    ':method': 'POST',
    ':path': '/runtime.v1.RuntimeService/Version',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  call.on('error', () => undefined);
  call.end(Buffer.alloc(5));
  await started;
  session.socket.destroy();
  assert.equal(((await aborted) as PortcullisError).code, 'CRI_CANCELLED');
});

test('a deadline aborts the signal of the handler, and the answer is DEADLINE_EXCEEDED', async () => {
  let reason: unknown;
  handlers.version = async (_, { signal }) => {
    await sleep(10_000, undefined, { signal }).catch(() => undefined);
    reason = signal.reason;
    return {};
  };
  assert.equal(
    (await rawCall('/runtime.v1.RuntimeService/Version', Buffer.alloc(0), 1000)).code,
    grpcStatus.DEADLINE_EXCEEDED,
  );
  for (let tries = 0; reason === undefined && tries < 6000; tries += 1) await sleep(10);
  assert.ok(
    isPortcullisError(reason) && ['CRI_DEADLINE', 'CRI_CANCELLED'].includes(reason.code),
    String(reason),
  );
});

test('streams deliver responses in order and a failure at the end, and end when the reader leaves', async () => {
  let ended: string | undefined;
  handlers.getContainerEvents = async function* (_, { signal }) {
    try {
      for (let index = 0; !signal.aborted; index += 1) {
        yield { containerId: String(index), createdAt: BigInt(index) };
        if (index === 2000)
          throw new PortcullisError({
            code: 'X_END',
            kind: 'exhausted',
            attempted: 'a',
            on: 'b',
            why: 'c',
            fix: 'd',
          });
      }
    } finally {
      ended = signal.aborted ? 'aborted' : 'returned';
    }
  };
  const got: string[] = [];
  const read = async (): Promise<void> => {
    for await (const event of client.runtime.getContainerEvents()) got.push(event.containerId);
  };
  assert.equal((await failureOf(read())).code, 'X_END');
  assert.deepEqual([got.length, got[0], got.at(-1)], [2001, '0', '2000']);

  handlers.getContainerEvents = async function* (_, { signal }) {
    ended = undefined;
    try {
      yield { containerId: 'one' };
      await once(signal, 'abort');
    } finally {
      ended = 'left';
    }
  };
  for await (const event of client.runtime.getContainerEvents()) {
    assert.equal(event.containerId, 'one');
    break;
  }
  for (let tries = 0; ended === undefined && tries < 6000; tries += 1) await sleep(10);
  assert.equal(ended, 'left');
});

test('a client of a stream is informed when its call was accepted, before the first response', async () => {
  const response = Promise.withResolvers<undefined>();
  handlers.getContainerEvents = async function* () {
    await response.promise;
    yield { containerId: 'one' };
  };
  const accepted = Promise.withResolvers<void>();
  const got: string[] = [];
  const read = async (): Promise<void> => {
    const options = { onAccepted: accepted.resolve };
    for await (const event of client.runtime.getContainerEvents({}, options)) got.push(event.containerId);
  };
  const reading = read();
  await accepted.promise;
  assert.deepEqual(got, []);
  response.resolve(undefined);
  await reading;
  assert.deepEqual(got, ['one']);
});

test('messages of 16 MiB pass in both directions, larger ones are RESOURCE_EXHAUSTED', async () => {
  const most = Buffer.alloc(16 * 1024 * 1024 - 1024, 'x');
  handlers.execSync = ({ cmd }) =>
    Promise.resolve({
      stdout: cmd[0] === 'much' ? Buffer.alloc(17 * 1024 * 1024) : most,
      exitCode: cmd[0]?.length ?? 0,
    });
  const answer = await client.runtime.execSync({ containerId: 'c', cmd: [most.toString()] });
  assert.equal(answer.exitCode, most.length);
  assert.ok(most.equals(answer.stdout));
  assert.equal((await failureOf(client.runtime.execSync({ cmd: ['much'] }))).code, 'CRI_RESPONSE_TOO_LARGE');
  assert.equal(
    (await rawCall('/runtime.v1.RuntimeService/ExecSync', Buffer.alloc(16 * 1024 * 1024 + 1))).code,
    grpcStatus.RESOURCE_EXHAUSTED,
  );
  assert.equal((await client.runtime.version()).version, 'v');
});

test('bytes that are not HTTP/2 and interrupted connections do not affect the server', async () => {
  for (const noise of [
    'GET / HTTP/1.1\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0',
    '\xff'.repeat(10_000),
    '',
  ]) {
    const socket = connect(socketPath);
    socket.on('error', () => undefined);
    socket.write(noise);
    await sleep(5);
    socket.destroy();
  }
  assert.equal((await client.runtime.version()).version, 'v');
});

test('close aborts calls that do not end in time, and no call is answered afterwards', async () => {
  const path = join(folder, 'd.sock');
  let reason: unknown;
  const version: RuntimeServiceHandlers['version'] = async (_, { signal }) => {
    await once(signal, 'abort');
    reason = signal.reason;
    throw signal.reason;
  };
  const slow = await createCriServer({
    socketPath: path,
    log,
    imageService: {},
    runtimeService: { version },
  });
  const other = createCriClient(path);
  const call = failureOf(other.runtime.version());
  await sleep(100);
  const started = performance.now();
  await slow.close({ graceMs: 100 });
  assert.ok(performance.now() - started < 30_000);
  await call;
  assert.ok(isPortcullisError(reason));
  assert.equal((await failureOf(other.runtime.version())).code, 'CRI_UNREACHABLE');
  other.close();
});

test('once closed, a call that ignores its signal does not keep the process alive, whatever its deadline', async () => {
  const { promise: never } = Promise.withResolvers<{ version: string }>();
  const path = join(folder, 'held.sock');
  const other = await createCriServer({
    socketPath: path,
    log,
    imageService: {},
    runtimeService: { version: () => never },
  });
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  const caller = createCriClient(path);
  const failed = failureOf(caller.runtime.version({}, { timeoutMs: 120_000 }));
  await sleep(100);
  await other.close({ graceMs: 50 });
  await failed;
  caller.close();
  for (let waited = 0; timers() > before && waited < 60_000; waited += 10) await sleep(10);
  assert.equal(timers(), before);
});

test('without a server, CRI_UNREACHABLE contains the socket and the reason', async () => {
  const absent = createCriClient(join(folder, 'absent.sock'));
  const error = await failureOf(absent.runtime.version());
  assert.equal(error.code, 'CRI_UNREACHABLE');
  assert.equal(error.failure.why, 'the socket does not exist');
  absent.close();
  assert.throws(() => createCriClient('relative.sock'), /CRI_SOCKET_PATH/);
});

test('1,000 calls one after the other', async (context) => {
  const times: number[] = [];
  for (let call = 0; call < 1000; call += 1) {
    const started = performance.now();
    await client.runtime.version({ version: 'v1' });
    times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  context.diagnostic(`p50 ${(times[500] ?? 0).toFixed(3)} ms, p99 ${(times[990] ?? 0).toFixed(3)} ms`);
  // A generous limit, because the machine may be under load. Measured: 0.1 ms.
  assert.ok((times[500] ?? Infinity) < 5);
});

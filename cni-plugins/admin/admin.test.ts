import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createHttpServer, httpRequest } from '../../base/connections/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { closeFd, listenUnix } from '../../base/kernel/index.ts';
import { callAdmin } from './client.ts';
import { adminOperations } from './operations.ts';
import type { AdminCall } from './operation-types.ts';
import { serveAdmin } from './server.ts';
import type { AdminServer } from './server.ts';

/** The client and the server of the admin API over a real socket. The answers are given here. */

const folder = mkdtempSync(join(tmpdir(), 'portcullis-admin-'));
const socket = join(folder, 'admin.sock');
let listener: number;
let server: AdminServer;
let calls: AdminCall[] = [];
let answer: (call: AdminCall, signal: AbortSignal) => Promise<object | string>;
const warnings: string[] = [];

before(() => {
  listener = listenUnix(socket);
  server = serveAdmin(
    listener,
    (call, signal) => {
      calls.push(call);
      return answer(call, signal);
    },
    { warn: (_, message) => void warnings.push(message ?? '') },
  );
});
beforeEach(() => {
  calls = [];
  answer = () => Promise.resolve({});
});
after(async () => {
  await server.close();
  closeFd(listener);
  rmSync(folder, { recursive: true, force: true });
});

interface Reply {
  readonly status: number;
  readonly value: {
    readonly error?: { readonly code: string; readonly why: string };
    readonly operations?: object;
  };
}

const sent = (method: string, path: string, body = ''): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const asked = httpRequest({ socketPath: socket, method, path, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, value: JSON.parse(text) as Reply['value'] }),
      );
    });
    asked.on('error', reject);
    asked.end(body);
  });

test('a request arrives with its fields, and the answer comes back with bigints as strings', async () => {
  answer = () => Promise.resolve({ denials: [{ id: 'a', packets: 2n ** 60n }] });
  assert.deepEqual(await callAdmin(socket, 'links/denials', {}), {
    value: { denials: [{ id: 'a', packets: '1152921504606846976' }] },
  });
  await callAdmin(socket, 'services/list', { most: 3, names: ['shop/web'] });
  assert.deepEqual(calls, [
    { operation: 'links/denials', request: {} },
    { operation: 'services/list', request: { most: 3, names: ['shop/web'] } },
  ]);
});

test('an answer that is already JSON text is passed on unchanged', async () => {
  answer = () => Promise.resolve('{"balancer":"ipvs","services":[],"problems":[]}');
  assert.deepEqual(await callAdmin(socket, 'services/list', {}), {
    value: { balancer: 'ipvs', services: [], problems: [] },
  });
});

test('a request is cancelled when its client leaves, and only then', async () => {
  const signals: AbortSignal[] = [];
  answer = async (_, signal) => {
    signals.push(signal);
    if (signals.length === 1) await once(signal, 'abort');
    return {};
  };
  const leaving = httpRequest({
    socketPath: socket,
    method: 'POST',
    path: '/v1/links/denials',
    agent: false,
  });
  leaving.on('error', () => undefined);
  leaving.end();
  while (signals.length === 0) await pause(5);
  leaving.destroy();
  await once(signals[0] as AbortSignal, 'abort');
  assert.equal((await sent('POST', '/v1/links/denials')).status, 200);
  await pause(50);
  assert.equal(signals[1]?.aborted, false);
});

test('an error of the daemon arrives complete', async () => {
  const failure = {
    code: 'NETWORK_POD_UNKNOWN',
    kind: 'not-found',
    attempted: 'find the pod',
    on: 'web',
    why: 'no pod',
    fix: 'list pods',
  } as const;
  answer = () => Promise.reject(new PortcullisError(failure));
  const answered = await callAdmin(socket, 'links/explain', { pod: 'web' });
  assert.ok('why' in answered && answered.failure !== undefined);
  assert.deepEqual(answered.failure.failure, failure);
  assert.equal((await sent('POST', '/v1/links/explain', '{"pod":"web"}')).status, 404);
});

test('an error without a code is answered with one and does not end the server', async () => {
  answer = () => Promise.reject(new TypeError('x is not a function'));
  const { status, value } = await sent('POST', '/v1/links/denials');
  assert.deepEqual(
    [status, value.error?.code, value.error?.why],
    [500, 'ADMIN_FAILED', 'x is not a function'],
  );
});

for (const [what, operation, body, why] of [
  ['an unknown field', 'links/collect', '{"altred":true}', /unknown field.*did you mean `altered`/u],
  ['a wrong type', 'services/list', '{"most":"all"}', /1 problem:\nrequest: most: /u],
  ['a missing field', 'overlay/release-host', '{}', /host/u],
  ['a service without backends', 'services/apply', '{"services":[{"name":"a"}]}', /services\[0\]/u],
  ['text that is not JSON', 'links/denials', '{', /it is not JSON/u],
  ['JSON that is not an object', 'links/denials', '[]', /must be a mapping, is a list/u],
] as const)
  test(`${what} is refused before the operation runs`, async () => {
    const { status, value } = await sent('POST', `/v1/${operation}`, body);
    assert.deepEqual([status, value.error?.code], [400, 'ADMIN_BAD_REQUEST']);
    assert.match(value.error?.why ?? '', why);
    assert.deepEqual(calls, []);
  });

test('the error names an operation, a method or a version that does not exist', async () => {
  for (const [method, path] of [
    ['POST', '/v1/links/none'],
    ['GET', '/v1/links/denials'],
    ['POST', '/v2/links/denials'],
    ['POST', '/v1/__proto__'],
  ] as const) {
    const { status, value } = await sent(method, path);
    assert.deepEqual([status, value.error?.code], [501, 'ADMIN_OPERATION_UNKNOWN'], path);
  }
});

test('GET /v1 describes every operation with the schema of its request', async () => {
  const { status, value } = await sent('GET', '/v1');
  assert.deepEqual([status, value.operations], [200, structuredClone(adminOperations)]);
});

test('a request that is too long is refused without reading all of it', async () => {
  const head = 'POST /v1/links/denials HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n';
  const client = connect(socket);
  client.on('error', () => undefined);
  let reply = '';
  client.on('data', (chunk) => (reply += chunk.toString()));
  client.write(head);
  const piece = Buffer.alloc(1024 * 1024, 0x20);
  let written = 0;
  while (!client.closed && reply === '' && written < 64 * piece.length) {
    if (!client.write(piece))
      await Promise.race([new Promise((resolve) => client.once('drain', resolve)), pause(200)]);
    written += piece.length;
  }
  for (let waited = 0; reply === '' && waited < 60_000; waited += 20) await pause(20);
  client.destroy();
  assert.match(reply, /^HTTP\/1\.1 400 [\s\S]*ADMIN_BAD_REQUEST.*longer than 4194304 bytes/u);
});

test('a stop does not wait for a client that does not finish its request', { timeout: 20_000 }, async () => {
  const path = join(folder, 'stop.sock');
  const fd = listenUnix(path);
  const stopping = serveAdmin(fd, () => Promise.resolve({}), { warn: () => undefined });
  const client = connect(path).on('error', () => undefined);
  const ended = new Promise((resolve) => client.once('close', resolve));
  client.write('POST /v1/links/denials HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{');
  await pause(100);
  await stopping.close();
  await ended;
  closeFd(fd);
});

test('a connection carries only one request, so that pipelined requests do not run at the same time', async () => {
  const client = connect(socket).on('error', () => undefined);
  const ended = new Promise((resolve) => client.once('close', resolve));
  client.resume();
  client.write('POST /v1/links/denials HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}'.repeat(1_000));
  await ended;
  assert.ok(calls.length <= 1, `${calls.length} requests ran`);
});

for (const [what, service] of [
  ['a persistence that is not a number', { persistenceSeconds: 'x' }],
  ['a health check without its fields', { healthCheck: {} }],
  [
    'a command that is not text',
    {
      healthCheck: {
        kind: 'exec',
        command: 5,
        intervalSeconds: 1,
        timeoutSeconds: 1,
        failures: 1,
        successes: 1,
      },
    },
  ],
  ['an unknown protocol', { ports: [{ name: 'web', protocol: 'icmp', port: 80, targetPort: 80 }] }],
  ['an unknown field', { sourceRange: ['10.0.0.0/8'] }],
] as const)
  test(`a service with ${what} is refused before it reaches the services thread`, async () => {
    const whole = {
      name: 'shop/web',
      addresses: ['10.96.0.1'],
      externalAddresses: [],
      ports: [{ name: 'web', protocol: 'tcp', port: 80, targetPort: 8080 }],
      scheduler: 'rr',
      clientAffinity: false,
      forwarding: 'nat',
      sourceAddress: 'keep',
      drainGraceSeconds: 30,
      backends: [{ address: '10.0.0.2' }],
    };
    assert.equal(
      (await sent('POST', '/v1/services/apply', JSON.stringify({ services: [whole] }))).status,
      200,
    );
    const { status, value } = await sent(
      'POST',
      '/v1/services/apply',
      JSON.stringify({ services: [{ ...whole, ...service }] }),
    );
    assert.deepEqual([status, value.error?.code, calls.length], [400, 'ADMIN_BAD_REQUEST', 1]);
  });

for (const reply of ['null', '"text"', '[]'])
  test(`a server that answers ${reply} is reported as another protocol`, async () => {
    const path = join(folder, 'other.sock');
    const other = createHttpServer((_, response) => response.end(reply));
    await new Promise<void>((resolve) => other.listen(path, resolve));
    try {
      const answered = await callAdmin(path, 'links/denials', {});
      assert.deepEqual(answered, { why: `the process that listens at ${path} speaks another protocol` });
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
  });

test('clients that send nothing do not block a request of another client', async () => {
  const silent = Array.from({ length: 200 }, () => connect(socket).on('error', () => undefined));
  try {
    await pause(200);
    assert.deepEqual(await callAdmin(socket, 'links/denials', {}), { value: {} });
    assert.ok(
      silent.filter(({ closed }) => !closed).length <= 32,
      'the number of connections of one process is limited',
    );
  } finally {
    for (const one of silent) one.destroy();
  }
});

test('the error is a full sentence if there is no daemon, or if it does not answer in time', async () => {
  const none = await callAdmin(join(folder, 'none.sock'), 'links/denials', {});
  assert.ok('why' in none);
  assert.match(none.why, /^the daemon does not answer at .*none\.sock: the socket does not exist$/u);
  answer = async () => pause(2_000, {});
  const late = await callAdmin(socket, 'links/denials', {}, 100);
  assert.deepEqual(late, { why: `the daemon at ${socket} did not answer within 0.1 s` });
});

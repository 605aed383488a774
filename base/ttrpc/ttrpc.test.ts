import fc from 'fast-check';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { failure, isPortcullisError } from '../errors/index.ts';
import { parseDeclaration } from '../protobuf/index.ts';
import { createFrameReader, encodeFrame } from './frames.ts';
import { createTtrpcClient, serveTtrpc, ttrpcHandler, ttrpcMethods } from './index.ts';
import type { TtrpcHandler } from './index.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

interface Text {
  readonly text: string;
}

const method = ttrpcMethods(
  parseDeclaration({
    package: 'test.v1',
    services: { Echo: { Say: 'Text Text', Wait: 'Text Text', Fail: 'Text Text', Grow: 'Text Text' } },
    messages: { Text: { text: '1 string' } },
  }),
);
const say = method<Text, Text>('Echo', 'Say');
const stall = method<Text, Text>('Echo', 'Wait');
const fail = method<Text, Text>('Echo', 'Fail');
const grow = method<Text, Text>('Echo', 'Grow');

/** Returns the two ends of a connected unix socket. */
async function pair(t: TestContext): Promise<readonly [Socket, Socket]> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-ttrpc-'));
  const listener = createServer().listen(join(folder, 's'));
  await once(listener, 'listening');
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  const client = connect(join(folder, 's'));
  const [server] = await accepted;
  t.after(() => {
    client.destroy();
    server.destroy();
    listener.close();
    rmSync(folder, { recursive: true });
  });
  client.on('error', () => undefined);
  server.on('error', () => undefined);
  return [client, server];
}

const seen: { metadata: unknown; aborted: string[] } = { metadata: undefined, aborted: [] };
const handlers: readonly TtrpcHandler[] = [
  ttrpcHandler(say, ({ text }, { metadata }) => {
    seen.metadata = metadata;
    return { text };
  }),
  ttrpcHandler(stall, async ({ text }, { signal }) => {
    await once(signal, 'abort');
    seen.aborted.push(text);
    return { text };
  }),
  ttrpcHandler(fail, () => {
    throw failure('X', 'not-found', 'find', 'it', 'it is gone', 'stop');
  }),
  ttrpcHandler(grow, ({ text }) => ({ text: text.repeat(5) })),
];

const named = (code: string) => (error: unknown) => isPortcullisError(error) && error.code === code;

test('a call passes its request, response and metadata, and two calls may overlap', async (t) => {
  const [near, far] = await pair(t);
  serveTtrpc(far, handlers, { name: 'client' });
  const client = createTtrpcClient(near, { name: 'server' });
  const metadata = { 'containerd-namespace-ttrpc': ['portcullis'], two: ['a', 'b'] };
  assert.deepEqual(await client.call(say, { text: 'hello' }, { metadata }), { text: 'hello' });
  assert.deepEqual(seen.metadata, metadata);
  const texts = Array.from({ length: 300 }, (_, index) => String(index));
  assert.deepEqual(
    (await Promise.all(texts.map((text) => client.call(say, { text })))).map(({ text }) => text),
    texts,
  );
  const large = 'x'.repeat(4 * 1024 * 1024 - 200);
  assert.equal((await client.call(say, { text: large })).text.length, large.length);
});

test('a failure is passed as its status, and an unknown method is UNIMPLEMENTED', async (t) => {
  const [near, far] = await pair(t);
  serveTtrpc(far, handlers.slice(2), { name: 'client' });
  const client = createTtrpcClient(near, { name: 'server' });
  await assert.rejects(client.call(fail, { text: '' }), (error) => {
    assert.ok(isPortcullisError(error));
    assert.deepEqual([error.code, error.kind], ['TTRPC_NOT_FOUND', 'not-found']);
    assert.match(error.failure.why, /it is gone/);
    return true;
  });
  await assert.rejects(client.call(say, { text: '' }), named('TTRPC_UNIMPLEMENTED'));
  await assert.rejects(
    client.call(grow, { text: 'x'.repeat(1024 * 1024) }),
    named('TTRPC_RESOURCE_EXHAUSTED'),
  );
});

test('a message above 4 MiB is not sent, and the connection continues', async (t) => {
  const [near, far] = await pair(t);
  serveTtrpc(far, handlers, { name: 'client' });
  const client = createTtrpcClient(near, { name: 'server' });
  await assert.rejects(client.call(say, { text: 'x'.repeat(4 * 1024 * 1024) }), named('TTRPC_TOO_LARGE'));
  assert.deepEqual(await client.call(say, { text: 'after' }), { text: 'after' });
});

test('a call without an answer ends at its deadline or when it is cancelled, and a late answer is dropped', async (t) => {
  const [near, far] = await pair(t);
  serveTtrpc(far, handlers, { name: 'client' });
  const client = createTtrpcClient(near, { name: 'server' });
  await assert.rejects(client.call(stall, { text: 'deadline' }, { timeoutMs: 30 }), (error) =>
    ['TTRPC_TIMEOUT', 'TTRPC_DEADLINE_EXCEEDED'].includes((error as { code: string }).code),
  );
  await assert.rejects(
    client.call(stall, { text: 'cancel' }, { signal: AbortSignal.timeout(30) }),
    named('TTRPC_CANCELLED'),
  );
  await assert.rejects(
    client.call(say, { text: '' }, { signal: AbortSignal.abort() }),
    named('TTRPC_CANCELLED'),
  );
  assert.deepEqual(await client.call(say, { text: 'after' }), { text: 'after' });
  await wait(20);
  assert.ok(seen.aborted.includes('deadline'), 'the deadline reached the handler');
});

test('pending calls end with the connection, and their handlers are notified', async (t) => {
  const [near, far] = await pair(t);
  const server = serveTtrpc(far, handlers, { name: 'client' });
  const client = createTtrpcClient(near, { name: 'server' });
  const call = client.call(stall, { text: 'gone' }, { timeoutMs: Infinity });
  await client.call(say, { text: '' });
  client.close();
  await assert.rejects(call, named('TTRPC_CLOSED'));
  await assert.rejects(client.call(say, { text: '' }), named('TTRPC_CLOSED'));
  assert.equal(await client.closed, undefined);
  assert.equal((await server.closed)?.code, 'TTRPC_CLOSED');
  await wait(10);
  assert.ok(seen.aborted.includes('gone'));
});

test('a client has a maximum of calls', async (t) => {
  const [near] = await pair(t);
  const client = createTtrpcClient(near, { name: 'server', mostCalls: 2 });
  const calls = [client.call(say, { text: '' }), client.call(say, { text: '' })];
  await assert.rejects(client.call(say, { text: '' }), named('TTRPC_BUSY'));
  client.close();
  for (const call of calls) await assert.rejects(call, named('TTRPC_CLOSED'));
});

test('a client does not queue for a peer that does not read', async (t) => {
  const [near, far] = await pair(t);
  far.pause();
  const client = createTtrpcClient(near, { name: 'server' });
  const text = 'x'.repeat(3 * 1024 * 1024);
  const results = Array.from({ length: 40 }, () =>
    client
      .call(say, { text }, { timeoutMs: 500 })
      .catch((error: unknown) => (error as { code: string }).code),
  );
  const codes = await Promise.all(results);
  assert.ok(codes.includes('TTRPC_BUSY'));
  assert.ok(near.writableLength < 24 * 1024 * 1024, `${near.writableLength} bytes wait`);
});

test('a server reads no more than its maximum of calls, and continues afterwards', async (t) => {
  const [near, far] = await pair(t);
  let [now, most] = [0, 0];
  const slow = ttrpcHandler(say, async ({ text }) => {
    most = Math.max(most, ++now);
    await wait(2);
    now -= 1;
    return { text };
  });
  serveTtrpc(far, [slow], { name: 'client', mostCalls: 4 });
  const client = createTtrpcClient(near, { name: 'server' });
  await Promise.all(Array.from({ length: 100 }, (_, index) => client.call(say, { text: String(index) })));
  assert.equal(most, 4);
});

const header = (length: number, stream: number, type: number, flags = 0): Buffer => {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(stream, 4);
  bytes.set([type, flags], 8);
  return bytes;
};
const hostileToServer: readonly { readonly what: string; readonly bytes: Buffer; readonly says: RegExp }[] = [
  { what: 'a frame above 4 MiB', bytes: header(4 * 1024 * 1024 + 1, 1, 1), says: /4194305 bytes/ },
  { what: 'an unknown type', bytes: header(0, 1, 9), says: /type 9/ },
  { what: 'a response', bytes: header(0, 1, 2), says: /type 2/ },
  { what: 'an even number', bytes: header(0, 2, 1), says: /number 2/ },
  { what: 'number 0', bytes: header(0, 0, 1), says: /number 0/ },
  { what: 'a number again', bytes: Buffer.concat([header(0, 3, 1), header(0, 3, 1)]), says: /number 3/ },
  { what: 'data without a call', bytes: header(0, 5, 3), says: /type 3/ },
  { what: 'a frame that is never finished', bytes: header(10, 1, 1), says: /did not finish/ },
];
for (const { what, bytes, says } of hostileToServer)
  test(`a server ends the connection at ${what}`, async (t) => {
    const [near, far] = await pair(t);
    const server = serveTtrpc(far, handlers, { name: 'client', frameTimeoutMs: 50 });
    near.write(bytes);
    const reason = await server.closed;
    assert.equal(reason?.code, 'TTRPC_PROTOCOL');
    assert.match(reason.message, says);
  });

for (const { what, bytes, says } of [
  { what: 'a request', bytes: header(0, 1, 1), says: /type 1/ },
  { what: 'an answer that nobody asked for', bytes: header(0, 9, 2), says: /call 9/ },
  { what: 'an answer that is not a message', bytes: encodeFrame(1, 2, Buffer.from('ff', 'hex')), says: /./ },
])
  test(`a client ends the connection at ${what}`, async (t) => {
    const [near, far] = await pair(t);
    const client = createTtrpcClient(near, { name: 'server' });
    const call = client.call(say, { text: '' });
    far.write(bytes);
    await assert.rejects(call, named('TTRPC_PROTOCOL'));
    const reason = await client.closed;
    assert.match(reason?.message ?? '', says);
  });

test('a request that is not a message, or opens a stream, is answered, and the connection continues', async (t) => {
  const [near, far] = await pair(t);
  serveTtrpc(far, handlers, { name: 'client' });
  near.write(encodeFrame(1, 1, Buffer.from('ff', 'hex')));
  near.write(header(0, 3, 1, 2));
  near.write(header(0, 3, 3, 1));
  const reader = createFrameReader();
  const answers: number[] = [];
  for await (const chunk of near) {
    answers.push(...reader.push(chunk as Buffer).map(({ stream }) => stream));
    if (answers.length === 2) break;
  }
  assert.deepEqual(answers.sort(), [1, 3]);
});

test('frames are the same however their bytes are split', () => {
  const frames = fc.array(
    fc.tuple(fc.integer({ min: 0, max: 0xffff_ffff }), fc.uint8Array({ maxLength: 40 })),
    {
      maxLength: 6,
    },
  );
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map(([stream, data]) => encodeFrame(stream, 1, data)));
      const reader = createFrameReader();
      const received = [];
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const length = cuts[turn % cuts.length] ?? 1;
        received.push(...reader.push(bytes.subarray(at, at + length)));
        at += length;
      }
      assert.deepEqual(
        received.map(({ stream, data }) => [stream, Buffer.from(data)]),
        sent.map(([stream, data]) => [stream, Buffer.from(data)]),
      );
      assert.equal(reader.partial(), false);
    }),
  );
});

test('a frame in many small pieces costs linear time', () => {
  const bytes = encodeFrame(1, 1, Buffer.alloc(4 * 1024 * 1024));
  const reader = createFrameReader();
  const start = processorMs();
  let frames = 0;
  for (let at = 0; at < bytes.length; at += 64) frames += reader.push(bytes.subarray(at, at + 64)).length;
  assert.equal(frames, 1);
  assert.ok(processorMs() - start < 5000);
});

test('a frame in pieces of one byte takes memory for its bytes, not for its pieces', async (t) => {
  const [near, far] = await pair(t);
  serveTtrpc(far, handlers, { name: 'client' });
  const bytes = encodeFrame(1, 1, Buffer.alloc(512 * 1024));
  const before = process.memoryUsage().rss;
  for (let at = 0; at < bytes.length - 1; at += 1) far.emit('data', bytes.subarray(at, at + 1));
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < 24 * 1024 * 1024, `${grown} bytes`);
  near.destroy();
});

test('a small frame does not keep the bytes that it was received with', () => {
  const bytes = Buffer.concat([encodeFrame(1, 1, Buffer.alloc(60_000)), encodeFrame(3, 1, Buffer.alloc(5))]);
  const [, small] = createFrameReader().push(bytes);
  assert.equal(small?.data.buffer.byteLength, 5);
});

test('the time limit is for a whole frame, not for each byte of it', async (t) => {
  const [near, far] = await pair(t);
  const server = serveTtrpc(far, handlers, { name: 'client', frameTimeoutMs: 150 });
  const bytes = encodeFrame(1, 1, Buffer.alloc(1_000));
  const started = performance.now();
  let ended = false;
  void server.closed.then(() => (ended = true));
  for (let at = 0; !ended && performance.now() - started < 20_000; at += 1) {
    near.write(bytes.subarray(at, at + 1));
    await wait(20);
  }
  // All bytes together would take 20 s.
  assert.ok(ended);
  assert.match((await server.closed)?.message ?? '', /did not finish/);
});

test('a peer that finishes its frames may always be in the middle of one', async (t) => {
  const [near, far] = await pair(t);
  const server = serveTtrpc(far, handlers, { name: 'client', frameTimeoutMs: 400 });
  let ended = false;
  void server.closed.then(() => (ended = true));
  const frame = (id: number): Buffer => encodeFrame(id, 1, Buffer.from('ff', 'hex'));
  near.write(frame(1).subarray(0, 6));
  for (let id = 1; id < 60; id += 2) {
    near.write(Buffer.concat([frame(id).subarray(6), frame(id + 2).subarray(0, 6)]));
    await wait(30);
  }
  assert.equal(ended, false);
});

test('a message of very many tiny fields is refused', async (t) => {
  const [near, far] = await pair(t);
  serveTtrpc(far, handlers, { name: 'client' });
  // metadata (5): an empty entry of two bytes.
  near.write(encodeFrame(1, 1, Buffer.from('2a00'.repeat(1024 * 1024), 'hex')));
  const reader = createFrameReader();
  for await (const chunk of near) {
    const [answer] = reader.push(chunk as Buffer);
    if (answer === undefined) continue;
    assert.match(answer.data.toString('latin1'), /too many fields/);
    break;
  }
});

test('the message of a peer about a failure is truncated and has no control characters', async (t) => {
  const long = ttrpcHandler(say, () => {
    throw failure('X', 'not-found', 'find', 'it', `\u001b[31m${'x'.repeat(7_000)}`, 'stop');
  });
  const [other, end] = await pair(t);
  serveTtrpc(end, [long], { name: 'client' });
  await assert.rejects(createTtrpcClient(other, { name: 'server' }).call(say, { text: '' }), (error) => {
    assert.ok(isPortcullisError(error));
    assert.ok(error.failure.why.length < 2_100);
    assert.doesNotMatch(error.failure.why, /[\u0000-\u001f]/);
    return true;
  });
});

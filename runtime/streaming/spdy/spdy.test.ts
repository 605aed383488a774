import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { createDeflate, constants } from 'node:zlib';
import fc from 'fast-check';
import { serveSpdy } from './connection.ts';
import { headerDictionary } from './dictionary.ts';
import { controlFrame, createFrameParser, dataHeader, frameTypes } from './frames.ts';
import type { ControlFrame, DataPart } from './frames.ts';
import { createHeaderReader, createHeaderWriter, formatHeaders, parseHeaders } from './header-block.ts';
import type { SpdyStream } from './stream.ts';

describe('name/value blocks', () => {
  it('the dictionary is the dictionary of SPDY/3', () => {
    assert.equal(headerDictionary.length, 1423);
    const digest = createHash('sha256').update(headerDictionary).digest('hex');
    assert.equal(digest, '51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02');
  });

  it('blocks of one connection share their state, as spdystream writes them', async () => {
    const deflate = createDeflate({ dictionary: headerDictionary, level: 9, flush: constants.Z_SYNC_FLUSH });
    const reader = createHeaderReader();
    for (const headers of [
      { streamtype: 'error', port: '80', requestid: '0' },
      { streamtype: 'data', port: '80', requestid: '0' },
      { streamtype: 'data', port: '8080', requestid: '1', empty: '' },
    ]) {
      const all = new Map(Object.entries(headers));
      const block = await new Promise<Buffer>((resolve) => {
        deflate.once('data', resolve);
        deflate.write(formatHeaders(all));
      });
      assert.deepEqual(await reader.read(block), all);
    }
    reader.close();
  });

  it('stored blocks are read like compressed blocks', async () => {
    const [write, reader] = [createHeaderWriter(), createHeaderReader()];
    for (let round = 0; round < 3; round += 1) {
      const all = new Map([['round', String(round)]]);
      assert.deepEqual(await reader.read(write(all)), all);
    }
    assert.deepEqual(await reader.read(write(new Map())), new Map());
    reader.close();
  });

  it('a decompression bomb is refused', async () => {
    const deflate = createDeflate({ dictionary: headerDictionary, flush: constants.Z_SYNC_FLUSH });
    const reader = createHeaderReader();
    const parts: Buffer[] = [];
    deflate.on('data', (part: Buffer) => parts.push(part));
    await new Promise((resolve) =>
      deflate.write(formatHeaders(new Map([['a', 'x'.repeat(10_000_000)]])), resolve),
    );
    await assert.rejects(reader.read(Buffer.concat(parts)), /more than 65536/);
  });

  it('damaged blocks are refused, never read beyond their end', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          parseHeaders(Buffer.from(bytes));
        } catch (error) {
          assert.match(String(error), /header/);
        }
      }),
    );
  });
});

describe('frames', () => {
  const whole = Buffer.concat([
    controlFrame(frameTypes.ping, 0, 7),
    dataHeader(1, 5, false),
    Buffer.from('hello'),
    dataHeader(3, 0, true),
    controlFrame(frameTypes.rstStream, 0, 3, 5),
    dataHeader(1, 2, true),
    Buffer.from('ab'),
  ]);

  it('are found in pieces of any size', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 12 }), (cuts) => {
        const parse = createFrameParser();
        const marks = [0, ...cuts.sort((a, b) => a - b), whole.length];
        const found = marks.slice(1).flatMap((to, index) => parse(whole.subarray(marks[index], to)));
        const control = found.filter((frame): frame is ControlFrame => frame.kind === 'control');
        const data = found.filter((frame): frame is DataPart => frame.kind === 'data');
        assert.deepEqual(
          control.map(({ type }) => type),
          [frameTypes.ping, frameTypes.rstStream],
        );
        assert.equal(
          Buffer.concat(data.filter(({ stream }) => stream === 1).map(({ bytes }) => bytes)).toString(),
          'helloab',
        );
        assert.deepEqual(
          data.filter(({ fin }) => fin).map(({ stream }) => stream),
          [3, 1],
        );
      }),
    );
  });

  it('of another version, or too large, end the connection', () => {
    assert.throws(() => createFrameParser()(Buffer.from('8002000100000000', 'hex')), /version 2/);
    assert.throws(() => createFrameParser()(Buffer.from('8003000100ffffff', 'hex')), /control frame of/);
  });
});

const listener = createServer({ allowHalfOpen: true });
before(() => new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve)));
/** A failed test leaves its ends open. They must not keep the listener waiting. */
const ends: Socket[] = [];
after(() => {
  for (const end of ends) end.destroy();
  return new Promise((resolve) => listener.close(resolve));
});

/** Returns the two ends of a connection over loopback. */
async function line(): Promise<[Socket, Socket]> {
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  const client = createConnection((listener.address() as AddressInfo).port, '127.0.0.1');
  const [server] = await accepted;
  client.on('error', () => undefined);
  ends.push(client, server);
  return [client, server];
}

function syn(
  id: number,
  headers: Record<string, string>,
  write: ReturnType<typeof createHeaderWriter>,
  flags = 0,
): Buffer {
  return controlFrame(
    frameTypes.synStream,
    flags,
    id,
    0,
    Buffer.alloc(2),
    write(new Map(Object.entries(headers))),
  );
}

describe('a connection', () => {
  async function connect(onStream: (stream: SpdyStream) => boolean = () => true, mostStreams = 10) {
    const [client, server] = await line();
    const streams: SpdyStream[] = [];
    const connection = serveSpdy({
      socket: server,
      head: Buffer.alloc(0),
      mostStreams,
      onStream: (stream) => {
        streams.push(stream);
        return onStream(stream);
      },
    });
    const frames: (ControlFrame | DataPart)[] = [];
    const parse = createFrameParser();
    client.on('data', (chunk: Buffer) => frames.push(...parse(chunk)));
    const until = async (what: () => boolean): Promise<void> => {
      for (let turn = 0; turn < 60_000 && !what(); turn += 1)
        await new Promise((resolve) => setTimeout(resolve, 1));
      assert.ok(what());
    };
    return { client, connection, streams, frames, until, write: createHeaderWriter() };
  }
  const types = (frames: readonly (ControlFrame | DataPart)[]) =>
    frames.map((frame) => (frame.kind === 'control' ? frame.type : 'data'));

  it('keeps nothing in memory but the unread bytes of a stream', async () => {
    const { client, streams, write, until } = await connect();
    const filler = controlFrame(frameTypes.ping, 0, 1, Buffer.alloc(4096));
    client.write(Buffer.concat([syn(1, {}, write), dataHeader(1, 1, false), Buffer.of(1), filler]));
    await until(() => streams[0]?.duplex.readableLength === 1);
    assert.equal((streams[0]?.duplex.read() as Buffer).buffer.byteLength, 1);
    client.destroy();
  });

  it('answers streams and pings, carries both directions and half-closes', async () => {
    const { client, streams, frames, until, write, connection } = await connect((stream) => {
      stream.duplex
        .on('data', (chunk: Buffer) => stream.duplex.write(chunk.toString().toUpperCase()))
        .on('end', () => stream.duplex.end());
      return true;
    });
    client.write(syn(1, { streamtype: 'stdin' }, write));
    client.write(controlFrame(frameTypes.ping, 0, 9));
    client.write(Buffer.concat([dataHeader(1, 3, false), Buffer.from('abc')]));
    client.write(dataHeader(1, 0, true));
    await until(() => frames.some((frame) => frame.kind === 'data' && frame.fin));
    assert.equal(streams[0]?.headers.get('streamtype'), 'stdin');
    assert.deepEqual(types(frames), [frameTypes.synReply, frameTypes.ping, 'data', 'data']);
    assert.equal((frames[2] as DataPart).bytes.toString(), 'ABC');
    connection.close();
    await until(() => client.readableEnded);
    client.destroy();
  });

  it('refuses even and old ids, too many streams, and streams that the handler refuses', async () => {
    const { client, frames, until, write } = await connect((stream) => stream.headers.has('good'), 1);
    client.write(syn(2, { good: '' }, write));
    client.write(syn(3, { bad: '' }, write));
    client.write(syn(3, { good: '' }, write));
    client.write(syn(5, { good: '' }, write));
    client.write(syn(7, { good: '' }, write));
    const resets = () =>
      frames.flatMap((frame) =>
        frame.kind === 'control' && frame.type === frameTypes.rstStream
          ? [[frame.payload.readUInt32BE(0), frame.payload.readUInt32BE(4)]]
          : [],
      );
    await until(() => resets().length === 4);
    assert.deepEqual(resets(), [
      [2, 1],
      [3, 5],
      [3, 1],
      [7, 3],
    ]);
    client.destroy();
  });

  it('a reset by the client destroys the stream and is not answered', async () => {
    const { client, streams, frames, until, write } = await connect();
    client.write(syn(1, {}, write));
    client.write(controlFrame(frameTypes.rstStream, 0, 1, 5));
    // The reply may still be on its way when the reset takes effect.
    await until(() => streams[0]?.duplex.destroyed === true && frames.length > 0);
    assert.deepEqual(types(frames), [frameTypes.synReply]);
    client.destroy();
  });

  it('ends with the client, and destroys every stream', async () => {
    const { client, streams, connection, until, write } = await connect();
    client.write(syn(1, {}, write));
    client.write(syn(3, {}, write));
    await until(() => streams.length === 2);
    client.destroy();
    await until(() => connection.closed.aborted);
    assert.ok(streams.every(({ duplex }) => duplex.destroyed));
  });

  it('ends after the last stream following a GOAWAY', async () => {
    const { client, streams, connection, until, write } = await connect();
    client.write(syn(1, {}, write));
    client.write(controlFrame(frameTypes.goAway, 0, 0, 0));
    await until(() => streams.length === 1);
    assert.equal(connection.closed.aborted, false);
    client.write(controlFrame(frameTypes.rstStream, 0, 1, 5));
    await until(() => connection.closed.aborted);
  });

  it('a stream that is not read stops the sender, which continues when it is read', async () => {
    const { client, streams, until, write } = await connect();
    client.write(syn(1, {}, write));
    await until(() => streams.length === 1);
    const block = Buffer.alloc(64 * 1024);
    let sent = 0;
    const send = (): void => {
      while (sent < 1_000) {
        sent += 1;
        if (!client.write(Buffer.concat([dataHeader(1, block.length, false), block]))) {
          client.once('drain', send);
          return;
        }
      }
    };
    send();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(sent < 300, `${sent} blocks were taken`);
    let received = 0;
    streams[0]?.duplex.on('data', (chunk: Buffer) => (received += chunk.length));
    await until(() => received === 1_000 * block.length);
    client.destroy();
  });

  it('false counts and lengths in a frame do not cost memory (CVE-2026-35469)', async () => {
    const claims = (...numbers: number[]): Buffer =>
      Buffer.concat(
        numbers.map((number) => {
          const word = Buffer.alloc(4);
          word.writeUInt32BE(number);
          return word;
        }),
      );
    // A number of headers, the length of a name, the length of a value.
    for (const block of [
      claims(0xffffffff),
      claims(0x7fffffff, 1),
      claims(1, 0xffffffff),
      claims(1, 0, 0x7fffffff),
      claims(101),
    ])
      assert.throws(() => parseHeaders(block), /header block/);
    const { client, frames, connection, until } = await connect();
    const before = process.memoryUsage();
    for (let count = 0; count < 1_000; count += 1)
      client.write(controlFrame(frameTypes.settings, 0, 0xffffffff));
    client.write(controlFrame(frameTypes.ping, 0, 1));
    await until(() => frames.some((frame) => frame.kind === 'control' && frame.type === frameTypes.ping));
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    assert.ok(heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers < 64 * 1024 * 1024);
    assert.equal(connection.closed.aborted, false);
    client.destroy();
  });

  it('rubbish ends it', async () => {
    for (const bytes of [
      '474554202f20485454502f312e310d0a0d0a',
      '8003000100000004ffffffff',
      '8003000100000010000000010000000000004141414141414141',
    ]) {
      const { client, connection, until } = await connect();
      client.write(Buffer.from(bytes, 'hex'));
      if (bytes.startsWith('47')) client.destroy();
      await until(() => connection.closed.aborted);
    }
  });
});

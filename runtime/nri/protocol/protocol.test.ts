import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { duplexPair, PassThrough } from 'node:stream';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { generateTypes } from '../../../base/protobuf/index.ts';
import { nriContract, pluginMethods, runtimeMethods, unknownFieldsOf } from './methods.ts';
import { multiplex } from './multiplexer.ts';
import { unknownFields } from './unknown-fields.ts';

test('contract.types.ts is current', () => {
  const written = readFileSync(new URL('./contract.types.ts', import.meta.url), 'utf8');
  assert.equal(
    written,
    generateTypes(nriContract),
    'run `sh packaging/node base/protobuf/generate-types.ts runtime/nri/protocol`',
  );
});

test('the contract has the 18 methods of a plugin and the 2 of the runtime', () => {
  assert.equal(Object.keys(pluginMethods).length, 18);
  assert.deepEqual(Object.keys(runtimeMethods), ['registerPlugin', 'updateContainers']);
  assert.equal(pluginMethods.createContainer.service, 'nri.pkg.api.v1alpha1.Plugin');
});

describe('fields of a newer NRI', () => {
  const unknownIn = (bytes: Buffer): readonly string[] =>
    unknownFieldsOf(pluginMethods.createContainer.response.decode(bytes));
  const known = pluginMethods.createContainer.response.encode({
    adjust: {
      annotations: { a: 'b' },
      rlimits: [{ type: 'RLIMIT_CORE', soft: 1, hard: 2 ** 64 }],
      linux: { resources: { cpu: { quota: { value: -1 } } }, sysctl: { a: 'b' } },
    },
  });

  it('are found at any depth, and known fields are not reported', () => {
    assert.deepEqual(unknownIn(known), []);
    assert.deepEqual(unknownIn(Buffer.concat([known, Buffer.from([0x78, 1])])), ['15']);
    // adjust (1) { linux (6) { 13: "x" } }
    assert.deepEqual(unknownIn(Buffer.from([0x0a, 5, 0x32, 3, 0x6a, 1, 0x78])), ['adjust.linux.13']);
  });

  it('never make the search throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        unknownFields(nriContract, 'CreateContainerResponse', bytes);
      }),
    );
  });
});

describe('multiplexed connections', () => {
  const frame = (id: number, payload: Buffer): Buffer => {
    const header = Buffer.alloc(8);
    header.writeUInt32BE(id, 0);
    header.writeUInt32BE(payload.length, 4);
    return Buffer.concat([header, payload]);
  };
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

  it('carry the bytes of both connections, however the stream is split', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(1, 2, 7), fc.uint8Array({ maxLength: 50 })), { maxLength: 20 }),
        fc.integer({ min: 1, max: 13 }),
        async (frames, step) => {
          const trunk = new PassThrough();
          const mux = multiplex(trunk, 'p');
          const got: Record<number, Buffer[]> = { 1: [], 2: [] };
          mux.plugin.on('data', (chunk: Buffer) => got[1]?.push(chunk));
          mux.runtime.on('data', (chunk: Buffer) => got[2]?.push(chunk));
          const bytes = Buffer.concat(frames.map(([id, payload]) => frame(id, Buffer.from(payload))));
          for (let at = 0; at < bytes.length; at += step) trunk.write(bytes.subarray(at, at + step));
          await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
          for (const id of [1, 2]) {
            const sent = frames.filter(([of]) => of === id).map(([, payload]) => Buffer.from(payload));
            assert.deepEqual(Buffer.concat(got[id] ?? []), Buffer.concat(sent));
          }
          mux.close();
        },
      ),
      { numRuns: 50 },
    );
  });

  it('begin a message with at most 4096 bytes, as the reader of the Go implementation needs', async () => {
    const [trunk, peer] = duplexPair();
    const mux = multiplex(trunk, 'p');
    const received: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => received.push(chunk));
    mux.plugin.write(Buffer.alloc(10_000, 7));
    await turn();
    const bytes = Buffer.concat(received);
    assert.deepEqual([bytes.readUInt32BE(0), bytes.readUInt32BE(4)], [1, 4096]);
    assert.deepEqual([bytes.readUInt32BE(8 + 4096), bytes.readUInt32BE(8 + 4096 + 4)], [1, 10_000 - 4096]);
    mux.close();
  });

  it('end with a frame that is too long, before its bytes arrive', async () => {
    const trunk = new PassThrough();
    const mux = multiplex(trunk, 'p');
    trunk.write(Buffer.from([0, 0, 0, 1, 0, 0x50, 0, 0]));
    const reason = await mux.closed;
    assert.equal(reason?.code, 'NRI_CONNECTION_LOST');
    assert.match(reason.message, /5242880 bytes/);
  });

  it('end when more bytes arrive than are read', async () => {
    const trunk = new PassThrough();
    const mux = multiplex(trunk, 'p');
    for (let sent = 0; sent < 12; sent += 1) trunk.write(frame(1, Buffer.alloc(2 ** 20)));
    assert.match((await mux.closed)?.message ?? '', /sent data faster than the daemon reads it/);
  });

  it('use memory for the bytes that wait, not for each frame', async () => {
    const trunk = new PassThrough();
    const mux = multiplex(trunk, 'p');
    const bytes = Buffer.concat(Array.from({ length: 7_000 }, () => frame(1, Buffer.alloc(1))));
    const before = process.memoryUsage().rss;
    for (let sent = 0; sent < 70; sent += 1) trunk.emit('data', bytes);
    const grown = process.memoryUsage().rss - before;
    assert.ok(grown < 40 * 1024 * 1024, `${grown} bytes`);
    let got = 0;
    for await (const chunk of mux.plugin) {
      got += (chunk as Buffer).length;
      if (got === 490_000) break;
    }
    await mux.closed;
  });

  it('end with a frame that is not finished in time, however its bytes arrive', async () => {
    const trunk = new PassThrough();
    const mux = multiplex(trunk, 'p', 150);
    let ended = false;
    void mux.closed.then(() => (ended = true));
    trunk.write(frame(1, Buffer.alloc(1_000)).subarray(0, 8));
    const started = performance.now();
    while (!ended && performance.now() - started < 5_000) {
      trunk.write(Buffer.alloc(1));
      await turn();
    }
    assert.match((await mux.closed)?.message ?? '', /did not finish/);
  });

  it('end with their trunk', async () => {
    const [trunk, peer] = duplexPair();
    const mux = multiplex(trunk, 'p');
    peer.destroy();
    assert.notEqual(await mux.closed, undefined);
    assert.ok(mux.plugin.destroyed && mux.runtime.destroyed);
  });
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { sha256Hex } from './chunk-index.ts';
import type { ChunkPlace } from './chunk-index.ts';
import { createFetchSlots } from './fetch-slots.ts';
import { createLayerFill } from './layer-fill.ts';
import type { ChunkSource, FillTimes, LayerFill } from './layer-fill.ts';

/** The limits are long enough for a busy machine. */
const times: FillTimes = { demandMs: 30_000, fetchMs: 30_000, hedgeMs: 50, refuseMs: 40, retryMs: [10, 20] };
const chunkBytes = 1000;

/** A layer of some chunks, and a source that a test changes. */
function layerOf(
  count: number,
  some: Partial<FillTimes> = {},
): {
  readonly fill: LayerFill;
  readonly content: Buffer;
  /** The stored content, by its place in the file. */
  readonly stored: Map<number, Buffer>;
  readonly asked: number[];
  use(source: ChunkSource): void;
  readonly honest: ChunkSource;
} {
  const content = randomBytes(count * chunkBytes);
  const parts = Array.from({ length: count }, (_, index) =>
    gzipSync(content.subarray(index * chunkBytes, (index + 1) * chunkBytes)),
  );
  const blob = Buffer.concat(parts);
  const stored = new Map<number, Buffer>();
  const asked: number[] = [];
  const honest: ChunkSource = ({ blobAt, blobBytes }) =>
    Promise.resolve(blob.subarray(blobAt, blobAt + blobBytes));
  let source = honest;
  const fill = createLayerFill({
    layer: {
      chunks: parts.map((part) => ({ bytes: chunkBytes, blobBytes: part.length, sha256: sha256Hex(part) })),
    },
    sources: () => [
      (place, signal) => {
        asked.push((place.at - 4096) / chunkBytes);
        return source(place, signal);
      },
    ],
    store: (place: ChunkPlace, bytes) => {
      stored.set(place.at - 4096, Buffer.from(bytes));
      return Promise.resolve();
    },
    slots: createFetchSlots({ demanded: 4, background: 2 }),
    times: { ...times, ...some },
    failed: () => undefined,
  });
  return { fill, content, stored, asked, use: (next) => void (source = next), honest };
}

const hanging: ChunkSource = (_, signal) =>
  new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason as Error);
    });
  });

describe('the fill of a layer', () => {
  it('stores the signed content before it allows a read', async () => {
    const { fill, content, stored } = layerOf(5);
    await fill.need(4096 + 1500, 1000);
    assert.deepEqual([...stored.keys()].sort(), [1000, 2000]);
    assert.ok(stored.get(1000)?.equals(content.subarray(1000, 2000)));
  });

  it('fetches a chunk once for all readers', async () => {
    const { fill, asked } = layerOf(3);
    await Promise.all(Array.from({ length: 20 }, () => fill.need(4096, 3000)));
    assert.deepEqual(asked.sort(), [0, 1, 2]);
  });

  for (const [what, change] of [
    ['one flipped bit', (part: Buffer) => void (part[part.length - 9] = (part.at(-9) ?? 0) ^ 1)],
    ['zeros', (part: Buffer) => void part.fill(0)],
  ] as const)
    it(`stores nothing if a part has ${what}`, async () => {
      const { fill, stored, use, honest } = layerOf(2);
      use(async (place, signal) => {
        const part = Buffer.from(await honest(place, signal));
        change(part);
        return part;
      });
      await assert.rejects(fill.need(4096, 1), /differ from the bytes that the publisher has signed/);
      assert.equal(stored.size, 0);
    });

  it('stores nothing if a part has a wrong length', async () => {
    const { fill, stored, use } = layerOf(1);
    use(() => Promise.resolve(Buffer.alloc(0)));
    await assert.rejects(fill.need(4096, 1), /differ from the bytes/);
    assert.equal(stored.size, 0);
  });

  it('requests a part again if the connection broke', async () => {
    const { fill, asked, use, honest } = layerOf(1);
    use((place, signal) => (asked.length === 1 ? Promise.reject(new Error('reset')) : honest(place, signal)));
    await fill.need(4096, 1);
    assert.deepEqual(asked, [0, 0]);
  });

  it('refuses a read when the registry hangs for too long, and other reads continue', async () => {
    const { fill, use, honest } = layerOf(2, { demandMs: 2_000, fetchMs: 500 });
    use((place, signal) => (place.at === 4096 ? hanging(place, signal) : honest(place, signal)));
    let isRefused = false;
    const stuck = assert.rejects(fill.need(4096, 1)).then(() => (isRefused = true));
    await fill.need(4096 + 1000, 1);
    assert.equal(isRefused, false, 'the other chunk does not wait');
    await stuck;
  });

  it('refuses a read that the kernel repeats after the limit without another wait', async () => {
    const { fill, use } = layerOf(1, { demandMs: 50, refuseMs: 60_000 });
    use(hanging);
    const reasonOfRead = (): Promise<unknown> =>
      fill.need(4096, 1).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
    const first = await reasonOfRead();
    assert.match(String(first), /did not serve it within/);
    assert.equal(await reasonOfRead(), first);
    fill.close('the test ends');
  });

  it('lets a read overtake a hanging background fetch', async () => {
    const { fill, use, honest } = layerOf(1, { fetchMs: 500 });
    use(hanging);
    const rest = fill.fillRest();
    await pause(5);
    use(honest);
    await fill.need(4096, 1);
    await rest;
    assert.equal(fill.filled(), 1);
  });

  it('fills the rest, and tries again after failures', async () => {
    const { fill, content, stored, asked, use, honest } = layerOf(40);
    use((place, signal) =>
      asked.length % 3 === 0 ? Promise.reject(new Error('reset')) : honest(place, signal),
    );
    await fill.fillRest();
    const whole = [...stored].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
    assert.ok(Buffer.concat(whole).equals(content));
  });

  it('allows a read of a chunk after a failed background fetch of it', async () => {
    const { fill, content, stored, use, honest } = layerOf(1);
    let failures = 0;
    use(() => Promise.reject(new Error(`the connection broke: ${(failures += 1)}`)));
    const filling = fill.fillRest().catch(() => undefined);
    while (failures === 0) await pause(1);
    use(honest);
    await fill.need(4096, 1000);
    assert.ok(stored.get(0)?.equals(content));
    fill.close('the test is over');
    await filling;
  });

  it('refuses all reads when it is closed', async () => {
    const { fill, use } = layerOf(2);
    use(hanging);
    const reads = [fill.need(4096, 1), fill.need(4096 + 1000, 1), fill.fillRest()];
    const ends = reads.map((read) => assert.rejects(read));
    fill.close('the layer is gone');
    await Promise.all(ends);
    await assert.rejects(fill.need(4096, 1));
  });
});

describe('the fill of a layer with a defect', () => {
  const content = randomBytes(chunkBytes);
  const part = gzipSync(content);

  /** A layer of one chunk, with two sources that serve it. */
  function layerOfPart(part: Uint8Array, bytes: number, store: () => Promise<void>) {
    let asked = 0;
    const source: ChunkSource = () => {
      asked += 1;
      return Promise.resolve(part);
    };
    const fill = createLayerFill({
      layer: { chunks: [{ bytes, blobBytes: part.length, sha256: sha256Hex(part) }] },
      ...{ sources: () => [source, source], store, times },
      slots: createFetchSlots({ demanded: 4, background: 2 }),
      failed: () => undefined,
    });
    return { fill, asked: () => asked };
  }

  it('does not fetch a chunk again for a read if the disk is full', async () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    const { fill, asked } = layerOfPart(part, chunkBytes, () => Promise.reject(full));
    await assert.rejects(fill.need(4096, 1), /ENOSPC/);
    assert.equal(asked(), 1);
  });

  for (const [what, signed, bytes] of [
    ['inflates to more than the signed length', part, chunkBytes - 1],
    ['inflates to less than the signed length', part, chunkBytes + 1],
    ['is not gzip', content, chunkBytes],
    ['is only the beginning of a gzip member', part.subarray(0, 100), chunkBytes],
  ] as const)
    it(`ends if a signed chunk ${what}: no source can serve another one`, { timeout: 5000 }, async () => {
      const { fill, asked } = layerOfPart(signed, bytes, () => Promise.resolve());
      await assert.rejects(fill.fillRest(), /the signed chunk does not inflate to the signed length/);
      assert.equal(asked(), 1);
    });

  it('fetches all chunks again after they were lost', async () => {
    const { fill, asked } = layerOfPart(part, chunkBytes, () => Promise.resolve());
    await fill.fillRest();
    fill.lose();
    assert.equal(fill.filled(), 0);
    await fill.fillRest();
    assert.deepEqual([fill.filled(), asked()], [1, 2]);
  });
});

describe('fetch slots', () => {
  it('serve demanded fetches first', async () => {
    const slots = createFetchSlots({ demanded: 1, background: 1 });
    const { signal } = new AbortController();
    const order: string[] = [];
    const act = (name: string) => async (): Promise<void> => {
      order.push(name);
      await pause(5);
    };
    await Promise.all([
      slots.run('background', act('b1'), signal, {}),
      slots.run('background', act('b2'), signal, {}),
      slots.run('demanded', act('d1'), signal, {}),
      slots.run('demanded', act('d2'), signal, {}),
    ]);
    assert.ok(order.indexOf('d1') < order.indexOf('b2'), order.join());
  });

  it('are released by an aborted fetch', async () => {
    const slots = createFetchSlots({ demanded: 1, background: 1 });
    const stop = new AbortController();
    const first = Promise.withResolvers<void>();
    const running = slots.run('demanded', () => first.promise, new AbortController().signal, {});
    const waiting = assert.rejects(
      slots.run('demanded', () => Promise.resolve(), stop.signal, {}),
      /stop/,
    );
    stop.abort(new Error('stop'));
    await waiting;
    first.resolve();
    await running;
    assert.equal(await slots.run('demanded', () => Promise.resolve(3), new AbortController().signal, {}), 3);
  });
});

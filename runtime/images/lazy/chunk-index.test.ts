import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { artifactOf, chunkTable, encodeChunkIndex, parseChunkIndex } from './chunk-index.ts';
import type { ChunkIndex } from './chunk-index.ts';

const hex = (digit: string): string => digit.repeat(64);
const digest = (digit: string): string => `sha256:${hex(digit)}`;

/** An index of one layer whose archive has 10,000 bytes in three chunks. */
function sample(change: (layer: Record<string, unknown>) => void = () => undefined): Buffer {
  const index = {
    manifest: digest('a'),
    layers: [
      {
        ...{
          blob: { digest: digest('b'), size: 600 },
          diffId: digest('c'),
          dependent: false,
          archiveBytes: 10_000,
        },
        ...{ fileBytes: 16_384 + 8_192, metadataSha256: hex('d') },
        metadata: { digest: digest('e'), size: 4096 + 8_192 },
        chunks: [
          { bytes: 4_000, blobBytes: 100, sha256: hex('1') },
          { bytes: 4_000, blobBytes: 200, sha256: hex('2') },
          { bytes: 2_000, blobBytes: 300, sha256: hex('3') },
        ],
      },
    ],
  } satisfies ChunkIndex;
  const value = JSON.parse(encodeChunkIndex(index).toString('utf8')) as { layers: Record<string, unknown>[] };
  change(value.layers[0] ?? {});
  return Buffer.from(JSON.stringify(value));
}

describe('a chunk index', () => {
  it('is read back unchanged', () => {
    const index = parseChunkIndex(sample(), 'index');
    assert.deepEqual(encodeChunkIndex(index), sample());
  });

  const wrong: readonly (readonly [string, (layer: Record<string, unknown>) => void])[] = [
    ['whose chunks end before the archive', (layer) => (layer['archiveBytes'] = 10_001)],
    [
      'whose chunks are smaller than the blob',
      (layer) => (layer['blob'] = { digest: digest('b'), size: 601 }),
    ],
    ['with a chunk of no bytes', (layer) => (layer['chunks'] = [[0, 600, hex('1')]])],
    [
      'with a negative chunk',
      (layer) =>
        (layer['chunks'] = [
          [-1, 1, hex('1')],
          [10_001, 599, hex('1')],
        ]),
    ],
    ['with a chunk larger than the limit', (layer) => (layer['chunks'] = [[10_000, 2 ** 23, hex('1')]])],
    ['with a malformed digest', (layer) => (layer['chunks'] = [[10_000, 600, 'x'.repeat(64)]])],
    [
      'whose metadata has a wrong length',
      (layer) => (layer['metadata'] = { digest: digest('e'), size: 4096 }),
    ],
    ['with a file that is too short', (layer) => (layer['fileBytes'] = 4096)],
    ['with another algorithm', (layer) => (layer['diffId'] = `sha512:${hex('c')}${hex('c')}`)],
    ['with no chunks', (layer) => (layer['chunks'] = [])],
  ];
  for (const [what, change] of wrong)
    it(`${what} is refused`, () => {
      assert.throws(() => parseChunkIndex(sample(change), 'index'), { code: 'IMAGES_BAD_CHUNK_INDEX' });
    });

  it('is refused if it is truncated anywhere', () => {
    const bytes = sample();
    for (let length = 0; length < bytes.length; length += 7)
      assert.throws(() => parseChunkIndex(bytes.subarray(0, length), 'index'), {
        code: 'IMAGES_BAD_CHUNK_INDEX',
      });
  });

  it('is named by the signed predicate only for its manifest', () => {
    const artifact = { digest: digest('9'), size: 500 };
    const predicate = { images: [{ manifest: digest('a'), artifact }] };
    assert.deepEqual(artifactOf(predicate, digest('a')), artifact);
    assert.equal(artifactOf(predicate, digest('b')), undefined);
    for (const other of [
      undefined,
      null,
      1,
      [],
      { images: {} },
      { images: [null, { manifest: digest('a') }] },
    ])
      assert.equal(artifactOf(other, digest('a')), undefined);
  });
});

describe('a range of a layer file', () => {
  it('touches the same chunks as a linear search finds', () => {
    for (let round = 0; round < 300; round += 1) {
      const chunks = Array.from({ length: randomInt(1, 20) }, () => ({
        ...{ bytes: randomInt(1, 9000), blobBytes: 1, sha256: hex('0') },
      }));
      const table = chunkTable({ chunks });
      const end = 4096 + chunks.reduce((sum, { bytes }) => sum + bytes, 0);
      const offset = randomInt(0, end + 5000);
      const length = randomInt(1, 20_000);
      const expected = chunks.flatMap((_, index) => {
        const { at, bytes } = table.place(index);
        return at < offset + length && at + bytes > offset ? [index] : [];
      });
      const { first, end: last } = table.touching(offset, length);
      assert.deepEqual(
        Array.from({ length: last - first }, (_, index) => first + index),
        expected,
        JSON.stringify({ offset, length, chunks: chunks.map(({ bytes }) => bytes) }),
      );
    }
  });

  it('touches no chunk if it has no bytes', () => {
    const table = chunkTable({ chunks: [{ bytes: 5, blobBytes: 1, sha256: hex('0') }] });
    const { first, end } = table.touching(4098, 0);
    assert.equal(end - first, 0);
  });

  it('touches all chunks if the event has no range', () => {
    const table = chunkTable({ chunks: [{ bytes: 5, blobBytes: 1, sha256: hex('0') }] });
    assert.deepEqual(table.touching(0, Number.MAX_SAFE_INTEGER), { first: 0, end: 1 });
  });
});

import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { openSync, readFileSync, readSync, closeSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { contentOfSparse, oldSparse, sparseByPax } from '../unpack/sparse.fixture.ts';
import type { SparseFile } from '../unpack/sparse.fixture.ts';
import { endOfArchive, rawBlock, rawEntry } from '../unpack/tar.fixture.ts';
import { range } from '../unpack/unpack.fixture.ts';
import { structureFault } from './check-structure.ts';
import { codeOf, encode, unpack } from './erofs.fixture.ts';
import { chunkedFormat, decodeHead, headBytes } from './format.ts';
import { assertJudged, judged, layersOfEachTest, mountable } from './layers.fixture.ts';

const { memoryPath, mounted, newPath, same } = layersOfEachTest();

const archiveOf = (...entries: readonly Buffer[]): Buffer => Buffer.concat([...entries, endOfArchive]);
/** Pieces at blocks, pieces that share a chunk, pieces over several chunks, and a hole at the end. */
const mixed: SparseFile = {
  size: 400_001,
  pieces: [
    { offset: 4096, data: Buffer.alloc(8192, 'a') },
    { offset: 20_481, data: Buffer.alloc(100, 'b') },
    { offset: 20_600, data: Buffer.alloc(10_000, 'c') },
    { offset: 200_000, data: Buffer.alloc(512, 'd') },
    { offset: 400_000, data: Buffer.from('e') },
  ],
};

describe('sparse files in a mounted layer file', mountable, () => {
  for (const version of ['0.0', '0.1', '1.0'] as const)
    it(`are those of the folder form: pax ${version}`, async () => {
      const { layer } = await same(
        archiveOf(sparseByPax(version, 'sparse', mixed), rawEntry({ name: 'next', body: 'x' })),
      );
      assert.ok(readFileSync(`${layer.root}/sparse`).equals(contentOfSparse(mixed)));
    });

  it('are those of the folder form: old GNU tar, with hard links and attributes', async () => {
    const { layer } = await same(
      archiveOf(
        oldSparse('sparse', mixed),
        rawBlock('link', '1', 0, 'sparse'),
        oldSparse('hole', { size: 5000, pieces: [] }),
      ),
    );
    assert.ok(readFileSync(`${layer.root}/link`).equals(contentOfSparse(mixed)));
    assert.equal(statSync(`${layer.root}/link`).nlink, 2);
  });

  it('use the data in the archive if it is aligned to blocks', async () => {
    const aligned: SparseFile = {
      size: 2 ** 20,
      pieces: range(16, (index) => ({ offset: index * 65_536, data: Buffer.alloc(8192, `${index % 10}`) })),
    };
    const tar = archiveOf(sparseByPax('1.0', 'sparse', aligned));
    const { layer } = await same(tar);
    const regions = decodeHead(readFileSync(layer.path).subarray(0, headBytes)) ?? assert.fail();
    assert.equal(regions.metadataAt, regions.copiesAt, 'nothing was copied');
  });

  it('of 2 GiB cost only as much as their data and their map', async () => {
    const large: SparseFile = {
      size: 2 ** 31,
      pieces: [{ offset: 2 ** 30 + 4096, data: Buffer.alloc(4096, 'x') }],
    };
    const layer = await mounted(archiveOf(sparseByPax('1.0', 'large', large)));
    assert.ok(layer.bytes < 3 * 2 ** 20, String(layer.bytes));
    const fd = openSync(`${layer.root}/large`, 'r');
    const read = Buffer.alloc(12_288);
    readSync(fd, read, 0, read.length, 2 ** 30);
    closeSync(fd);
    assert.ok(read.equals(Buffer.concat([Buffer.alloc(4096), Buffer.alloc(4096, 'x'), Buffer.alloc(4096)])));
  });

  it('have any pieces', async () => {
    const anyFile = fc
      .array(fc.tuple(fc.integer({ min: 0, max: 20_000 }), fc.integer({ min: 0, max: 10_000 })), {
        maxLength: 8,
      })
      .chain((gaps) => fc.integer({ min: 0, max: 9000 }).map((tail) => ({ gaps, tail })))
      .map(({ gaps, tail }): SparseFile => {
        let at = 0;
        const pieces = gaps.map(([gap, length], index) => {
          const offset = at + gap;
          at = offset + length;
          return { offset, data: Buffer.alloc(length, String(index)) };
        });
        return { size: at + tail, pieces };
      });
    await fc.assert(
      fc.asyncProperty(fc.array(anyFile, { minLength: 1, maxLength: 3 }), async (files) => {
        const tar = archiveOf(...files.map((file, index) => sparseByPax('1.0', `f${index}`, file)));
        const { layer } = await same(tar);
        for (const [index, file] of files.entries())
          assert.ok(readFileSync(`${layer.root}/f${index}`).equals(contentOfSparse(file)));
        if (judged.skip === false) assertJudged(layer.path);
      }),
      { numRuns: 40 },
    );
  });
});

describe('sparse files', () => {
  it('are accepted by fsck.erofs', judged, async () => {
    const path = newPath();
    await encode(path, archiveOf(sparseByPax('0.1', 'sparse', mixed), oldSparse('old', mixed)));
    assertJudged(path);
  });

  it('with small pieces in too many blocks are refused in both forms', async () => {
    const file = {
      size: 2 ** 27,
      pieces: range(2000, (index) => ({ offset: index * 65_536, data: Buffer.from('x') })),
    };
    const tar = archiveOf(sparseByPax('1.0', 'f', file));
    // Each piece takes parts of two blocks.
    for (const [ratioFloorBytes, code] of [
      [2 ** 23, 'IMAGES_LAYER_TOO_LARGE'],
      [2 ** 25, undefined],
    ] as const) {
      const limits = { ratioFloorBytes };
      assert.equal(await codeOf(() => encode(newPath(), tar, { limits })), code);
      assert.equal(await codeOf(() => unpack(memoryPath(), tar, { limits })), code);
    }
  });

  it('whose chunks have wrong places are refused before a mount', async () => {
    const path = newPath();
    await encode(path, archiveOf(sparseByPax('1.0', 'sparse', mixed)));
    const file = readFileSync(path);
    const regions = decodeHead(file.subarray(0, headBytes)) ?? assert.fail();
    assert.ok(regions.hasChunks);
    const metadata = file.subarray(regions.metadataAt);
    assert.equal(structureFault(regions, metadata), undefined);
    const inode = range(metadata.length / 32, (slot) => slot * 32).find(
      (at) => metadata.readUInt16LE(at) === chunkedFormat,
    );
    const at = (inode ?? assert.fail()) + 64;
    const changes: readonly (readonly [string, (bytes: Buffer) => void])[] = [
      ['a chunk in the head', (bytes) => bytes.writeUInt32LE(0, at + 4)],
      ['a chunk in the metadata', (bytes) => bytes.writeUInt32LE(regions.metadataAt / 512, at)],
      [
        'a chunk at the end of the copies',
        (bytes) => bytes.writeUInt32LE(regions.metadataAt / 512 - 1, at + 4),
      ],
      ['a chunk beyond the file', (bytes) => bytes.writeUInt32LE(0xffff_fffe, at)],
      ['a wrong chunk size', (bytes) => bytes.writeUInt32LE(4, at - 64 + 16)],
      ['a map beyond its region', (bytes) => bytes.writeUInt32LE(0x7fff_ffff, at - 64 + 8)],
    ];
    for (const [what, change] of changes) {
      const changed = Buffer.from(metadata);
      change(changed);
      assert.notEqual(structureFault(regions, changed), undefined, what);
    }
    assert.notEqual(structureFault({ ...regions, hasChunks: false }, metadata), undefined);
  });
});

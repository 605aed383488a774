import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { describe, it } from 'node:test';
import { chunksSha256 } from './lazy/chunk-index.ts';
import type { LayerChunks } from './lazy/chunk-index.ts';
import { isIndexOf, openLazyLayers } from './lazy-layers.ts';
import type { LazyLayersDeps } from './lazy-layers.ts';

const hex = (digit: string): string => digit.repeat(64);
const layer: LayerChunks = {
  blob: { digest: `sha256:${hex('b')}`, size: 20 },
  diffId: `sha256:${hex('d')}`,
  ...{ dependent: false, archiveBytes: 100, fileBytes: 12_288 },
  metadataSha256: hex('e'),
  metadata: { digest: `sha256:${hex('f')}`, size: 8192 },
  chunks: [{ bytes: 100, blobBytes: 20, sha256: hex('1') }],
};
const row = {
  blobDigest: layer.blob.digest,
  diffId: layer.diffId,
  manifestSha256: layer.metadataSha256,
  chunksSha256: chunksSha256(layer),
};

describe('the index of a layer with holes', () => {
  it('is the index with the same blob, content, metadata and chunks', () => {
    assert.ok(isIndexOf(layer, row));
  });

  for (const [what, change] of [
    ['digest', { sha256: hex('2') }],
    ['length', { bytes: 99 }],
    ['length in the blob', { blobBytes: 19 }],
  ] as const)
    it(`is not an index in which a chunk has another ${what}`, () => {
      const chunks = layer.chunks.map((chunk) => ({ ...chunk, ...change }));
      assert.equal(isIndexOf({ ...layer, chunks }, row), false);
    });

  it('is unknown when an earlier release recorded the layer without its chunks', () => {
    const { chunksSha256: _unknown, ...earlier } = row;
    assert.equal(isIndexOf(layer, earlier), false);
  });
});

describe('a filler that cannot be reached', () => {
  it('keeps its socket and its layers: nothing says that they are lost', async (t) => {
    const folder = mkdtempSync('/var/tmp/portcullis-lazy-');
    t.after(() => {
      rmSync(folder, { recursive: true });
    });
    const socket = `${folder}/filler.sock`;
    symlinkSync('filler.sock', socket);
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const deps = { log, records: { layers: () => [] } } as unknown as LazyLayersDeps;
    const lazy = await openLazyLayers(deps, { isOn: false, socket });
    await assert.rejects(lazy.reach(), { code: 'ELOOP' });
    await assert.rejects(lazy.guard([], { manifest: '', layers: [] }, {} as never), {
      code: 'IMAGES_LAYER_UNGUARDED',
    });
    assert.ok(lstatSync(socket).isSymbolicLink());
    await lazy.close();
  });
});

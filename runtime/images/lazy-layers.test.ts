import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { link, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { createSerialQueue } from '../../base/queues/index.ts';
import { chunksSha256 } from './lazy/chunk-index.ts';
import type { LayerChunks } from './lazy/chunk-index.ts';
import { fillerVersion, hearMessages, sendMessage } from './lazy/protocol.ts';
import type { FillerRequest } from './lazy/protocol.ts';
import { isIndexOf, openLazyLayers } from './lazy-layers.ts';
import type { LazyLayersDeps } from './lazy-layers.ts';
import type { Publication } from './layer-workers/protocol.ts';
import type { OwnEncoding } from './own-encoding.ts';
import type { LayerRow } from './stored-image.ts';

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

describe('a layer that is complete before', () => {
  it('the store is open or the layer is recorded is checked afterwards', { timeout: 10_000 }, async (t) => {
    const root = mkdtempSync('/var/tmp/portcullis-lazy-');
    const server = createServer((connection) => {
      hearMessages(connection, (request) => {
        const { id } = request as FillerRequest;
        const layers = [{ folder: 'a', state: 'filling' }] as const;
        connection.cork();
        sendMessage(connection, { kind: 'hello', id, version: fillerVersion, pids: [], layers });
        sendMessage(connection, { kind: 'state', folder: 'a', state: 'complete', why: '' });
        connection.uncork();
      });
    });
    t.after(() => {
      server.close();
      rmSync(root, { recursive: true });
    });
    const socket = `${root}/filler.sock`;
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const looked: string[] = [];
    const records = { layers: () => [], layer: () => ({ ...row, lazy: true }) };
    const deps = { log, records, look: (folder: string) => looked.push(folder) };
    const lazy = await openLazyLayers(deps as unknown as LazyLayersDeps, { isOn: false, socket });
    assert.deepEqual([lazy.state('a'), looked], ['complete', []]);
    lazy.recorded(['a']);
    assert.deepEqual(looked, ['a']);
    await lazy.close();
  });
});

describe('a complete layer that the node has written again', () => {
  const folder = 'c'.repeat(64);

  /** Fails a step of the end of a layer. */
  function failingAt(t: TestContext, step: 'move' | 'record') {
    const root = mkdtempSync('/var/tmp/portcullis-lazy-');
    t.after(() => {
      rmSync(root, { recursive: true });
    });
    const folders = { root, layers: `${root}/layers`, blobs: `${root}/blobs`, staging: `${root}/staging` };
    for (const path of [`${folders.layers}/${folder}`, folders.blobs, `${folders.staging}/own`])
      mkdirSync(path, { recursive: true });
    writeFileSync(`${folders.layers}/${folder}/layer.erofs`, 'filled');
    writeFileSync(`${folders.layers}/${folder}/blob`, 'blob');
    writeFileSync(`${folders.staging}/own/layer.erofs`, 'own');
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const sync = { era: () => 0, flush: () => Promise.resolve() };
    const full = new Error('the disk is full');
    const pool = {
      async publish({ moves }: Publication) {
        for (const { kind, from, to } of moves) {
          if (kind === 'rename' && step === 'move') throw full;
          await (kind === 'rename' ? rename(from, to) : link(from, to));
        }
      },
    };
    const places = {
      vacate: (name: string) => rm(`${folders.layers}/${name}`, { recursive: true }),
      forget: () => undefined,
    };
    const layers = { withdrawing: () => undefined };
    const publishing = createSerialQueue();
    const records = { layers: () => [], replaceLayer: () => Promise.reject(full) };
    return {
      deps: {
        ...{ folders, log, sync, records },
        publishDeps: () => ({ folders, pool, layers, places, sync, publishing, log }),
      } as unknown as LazyLayersDeps,
      own: { staging: `${folders.staging}/own` } as OwnEncoding,
      read: (name: string) => readFileSync(`${folders.layers}/${folder}/${name}`, 'utf8'),
    };
  }

  for (const [step, file] of [
    ['move', 'filled'],
    ['record', 'own'],
  ] as const)
    it(`keeps its file and its blob for another attempt when the ${step} fails`, async (t) => {
      const { deps, own, read } = failingAt(t, step);
      const lazy = await openLazyLayers(deps, undefined);
      await assert.rejects(lazy.finish({ ...row, folder } as LayerRow, own), /the disk is full/);
      assert.deepEqual([read('layer.erofs'), read('blob')], [file, 'blob']);
    });
});

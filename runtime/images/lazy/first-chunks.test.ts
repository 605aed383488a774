import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tarOf } from '../test-kit.ts';
import type { Entry } from '../test-kit.ts';
import type { LayerChunks } from './chunk-index.ts';
import { createFirstChunks } from './first-chunks.ts';
import type { Invocation } from './first-chunks.ts';

const chunkBytes = 4096;
const plain: Invocation = { entrypoint: [], cmd: [], env: ['PATH=/usr/bin:/bin'], workingDir: '' };

/** The chunks of each layer that are fetched first. Each body begins at a chunk of its own. */
async function firstOf(layers: readonly (readonly Entry[])[], invocation: Partial<Invocation>) {
  const first = createFirstChunks();
  const indexed: LayerChunks[] = [];
  for (const entries of layers) {
    const tar = await tarOf(entries);
    const count = Math.ceil(tar.length / chunkBytes);
    await first.addLayer(count, (chunk) =>
      Promise.resolve(tar.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes)),
    );
    const chunks = Array.from({ length: count }, () => ({
      bytes: chunkBytes,
      blobBytes: chunkBytes,
      sha256: '',
    }));
    indexed.push({ chunks } as unknown as LayerChunks);
  }
  return first.markIn(indexed, { ...plain, ...invocation }).map((layer) => layer.first);
}

const filler = (name: string): Entry => ({ name, body: Buffer.alloc(4 * chunkBytes) });
/** Behind the filler, whose header has 512 bytes: the chunks 4 and 5. */
const program = (body: string | Uint8Array = 'x'.repeat(4096)): Entry => ({
  name: 'bin/app',
  mode: 0o755,
  body,
});

describe('the chunks that are fetched first', () => {
  it('contain the program of the command', async () => {
    const layers = [[filler('a'), program(), filler('z')]];
    assert.deepEqual(await firstOf(layers, { entrypoint: ['/bin/app'] }), [[4, 5]]);
    assert.deepEqual(await firstOf(layers, { cmd: ['app', '-v'] }), [[4, 5]], 'by PATH');
    assert.deepEqual(await firstOf(layers, { cmd: ['./app'], workingDir: '/bin' }), [[4, 5]], 'by a path');
    assert.deepEqual(await firstOf(layers, { cmd: ['other'] }), [[]]);
  });

  it('are found through links, in the highest layer', async () => {
    const links: Entry[] = [
      { name: 'usr/local', type: 'symlink', linkname: '../opt' },
      { name: 'opt/start', type: 'symlink', linkname: '/bin/app' },
    ];
    const layers = [[program()], [filler('a'), program()], links];
    assert.deepEqual(await firstOf(layers, { entrypoint: ['/usr/local/start'] }), [[], [4, 5], []]);
    const loop: Entry[] = [{ name: 'bin/app', type: 'symlink', linkname: 'app' }];
    assert.deepEqual(await firstOf([loop], { entrypoint: ['/bin/app'] }), [[]]);
  });

  it('contain the interpreter of a script and of an ELF file', async () => {
    const shell: Entry = { name: 'bin/sh', mode: 0o755, body: 'y'.repeat(100) };
    assert.deepEqual(await firstOf([[program('#!/bin/sh -e\n')], [shell]], { cmd: ['app'] }), [[0], [0]]);
    const elf = Buffer.alloc(200);
    elf.writeUInt32BE(0x7f454c46, 0);
    elf.set([2, 1], 4);
    elf.writeBigUInt64LE(64n, 32);
    elf.writeUInt16LE(56, 54);
    elf.writeUInt16LE(1, 56);
    elf.writeUInt32LE(3, 64);
    elf.writeBigUInt64LE(120n, 72);
    elf.writeBigUInt64LE(8n, 96);
    elf.write('/bin/sh\0', 120);
    assert.deepEqual(await firstOf([[program(elf)], [shell]], { cmd: ['app'] }), [[0], [0]]);
  });

  it('are at most 64 of a layer', async () => {
    const layers = [[program(Buffer.alloc(100 * chunkBytes))]];
    assert.equal((await firstOf(layers, { cmd: ['app'] }))[0]?.length, 64);
  });
});

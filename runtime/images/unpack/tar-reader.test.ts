import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTarReader } from './tar-reader.ts';
import { endOfArchive, rawBlock, rawTar } from './tar.fixture.ts';
import type { TarEntry } from './tar-metadata.ts';

function entriesOf(tar: Buffer): readonly TarEntry[] {
  const entries: TarEntry[] = [];
  const reader = createTarReader({
    begin: (entry) => void entries.push(entry),
    data: () => undefined,
    end: () => undefined,
  });
  reader.push(tar);
  reader.finish();
  return entries;
}

test('a pax record without a value leaves the field of the header', () => {
  const pax = { path: '', linkpath: '', size: '', uid: '', gid: '', mtime: '' };
  const [file, symlink] = entriesOf(
    rawTar([
      { name: 'file', body: 'four', pax },
      { name: 'symlink', type: '2', link: 'target', pax },
    ]),
  );
  const { name, size, uid, gid, mtime } = file ?? assert.fail();
  assert.deepEqual({ name, size, uid, gid, mtime }, { name: 'file', size: 4, uid: 0, gid: 0, mtime: 0n });
  assert.equal(symlink?.linkName, 'target');
});

test('a checksum of signed bytes is accepted, and another one is not', () => {
  const withSum = (change: number): Buffer => {
    const block = rawBlock('caf\u00e9', '0', 0);
    const sum = Number.parseInt(block.toString('latin1', 148, 154), 8) - 256 + change;
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return Buffer.concat([block, endOfArchive]);
  };
  assert.deepEqual(
    entriesOf(withSum(0)).map(({ name }) => name),
    ['caf\u00e9'],
  );
  for (const change of [1, -256]) assert.throws(() => entriesOf(withSum(change)), /IMAGES_LAYER_CORRUPT/);
});

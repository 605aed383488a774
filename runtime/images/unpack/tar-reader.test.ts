import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTarReader } from './tar-reader.ts';
import { endOfArchive, extendedHeader, paxRecord, rawBlock, rawTar } from './tar.fixture.ts';
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
  const withChange = (change: number): Buffer => {
    const block = rawBlock('caf\u00e9', '0', 0);
    const sum = Number.parseInt(block.toString('latin1', 148, 154), 8) - 256 + change;
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return Buffer.concat([block, endOfArchive]);
  };
  assert.deepEqual(
    entriesOf(withChange(0)).map(({ name }) => name),
    ['caf\u00e9'],
  );
  for (const change of [1, -256]) assert.throws(() => entriesOf(withChange(change)), /IMAGES_LAYER_CORRUPT/);
});

test('a group has no more rights than an access control list grants, although the list is not kept', () => {
  const listOf = (group: number, mask: number): Buffer => {
    const entries = [
      [0x01, 6, 0xffffffff],
      [0x02, 6, 1000],
      [0x04, group, 0xffffffff],
      [0x10, mask, 0xffffffff],
      [0x20, 0, 0xffffffff],
    ] as const;
    const bytes = Buffer.alloc(4 + 8 * entries.length);
    bytes.writeUInt32LE(2, 0);
    for (const [index, [tag, rights, id]] of entries.entries()) {
      bytes.writeUInt16LE(tag, 4 + 8 * index);
      bytes.writeUInt16LE(rights, 6 + 8 * index);
      bytes.writeUInt32LE(id, 8 + 8 * index);
    }
    return bytes;
  };
  // The header states mode 0644, with the rights 4 of the group.
  const cases: readonly (readonly [Buffer, mode: number])[] = [
    [listOf(0, 6), 0o604],
    [listOf(6, 6), 0o644],
    [listOf(4, 0), 0o604],
    [listOf(4, 4), 0o644],
    [Buffer.from('0200', 'hex'), 0o604],
    [Buffer.alloc(12), 0o604],
  ];
  for (const [list, mode] of cases) {
    const pax = { 'SCHILY.xattr.system.posix_acl_access': list };
    const [file, next] = entriesOf(rawTar([{ name: 'file', pax }, { name: 'next' }]));
    assert.equal((file?.mode ?? 0) & 0o777, mode);
    assert.equal(file?.xattrs, undefined);
    assert.equal((next?.mode ?? 0) & 0o777, 0o644);
  }
});

const withSum = (block: Buffer): Buffer => {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
};

test('headers that contradict each other are read as in archive/tar of Go, which scanners use', () => {
  const pax = extendedHeader(
    Buffer.concat([paxRecord('path', 'of-pax'), paxRecord('linkpath', 'link-of-pax'), paxRecord('uid', '7')]),
  );
  const global = extendedHeader(paxRecord('comment', 'commit'), 'g');
  const gnu = Buffer.concat([
    extendedHeader(Buffer.from('of-gnu\0'), 'L'),
    extendedHeader(Buffer.from('link-of-gnu\0'), 'K'),
  ]);
  const without = extendedHeader(Buffer.from('\0'), 'L');
  const own = rawBlock('own', '2', 0, 'own-link');
  const cases: readonly (readonly [headers: readonly Buffer[], name: string, link: string, uid: number])[] = [
    [[pax], 'of-pax', 'link-of-pax', 7],
    [[gnu, pax], 'of-gnu', 'link-of-gnu', 7],
    [[pax, gnu], 'of-gnu', 'link-of-gnu', 7],
    [[pax, without], 'of-pax', 'link-of-pax', 7],
    [[pax, global], 'own', 'own-link', 0],
    [[gnu, global], 'own', 'own-link', 0],
  ];
  for (const [headers, name, link, uid] of cases) {
    const [entry] = entriesOf(Buffer.concat([...headers, own, endOfArchive]));
    assert.deepEqual([entry?.name, entry?.linkName, entry?.uid], [name, link, uid]);
  }
});

test('only in the form v7 is a file whose name ends with a slash a folder', () => {
  const typeOf = (flag: string): string | undefined =>
    entriesOf(Buffer.concat([rawBlock('etc/', flag, 0), endOfArchive]))[0]?.type;
  assert.deepEqual([typeOf('\0'), typeOf('0'), typeOf('7')], ['directory', 'file', 'file']);
});

test('a GNU header has a prefix only where Go wrote one over its times', () => {
  const nameWith = (prefix: string): string | undefined => {
    const block = rawBlock('file', '0', 0);
    block.write('ustar  \0', 257, 'latin1');
    block.write(prefix, 345, 'latin1');
    return entriesOf(Buffer.concat([withSum(block), endOfArchive]))[0]?.name;
  };
  assert.equal(nameWith('folder'), 'folder/file');
  assert.equal(nameWith('14000000000\x0014000000001\0'), 'file');
  assert.equal(nameWith('caf\u00e9'), 'file');
});

test('a header of the form v7 has no numbers of a device', () => {
  const majorWith = (magic: string): number | undefined => {
    const block = rawBlock('disk', '4', 0);
    block.write(magic.padEnd(8, '\0'), 257, 'latin1');
    block.write('0000003\0', 329);
    return entriesOf(Buffer.concat([withSum(block), endOfArchive]))[0]?.major;
  };
  assert.deepEqual([majorWith('ustar\x0000'), majorWith('ustar  \0'), majorWith('')], [3, 3, 0]);
});

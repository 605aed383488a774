import { gzipSync, zstdCompressSync } from 'node:zlib';
import { patched } from '../../runtime/images/erofs/erofs.fixture.ts';
import { oldSparse, sparseByPax } from '../../runtime/images/unpack/sparse.fixture.ts';
import { endOfArchive, extendedHeader, paxRecord } from '../../runtime/images/unpack/tar.fixture.ts';
import { rawBlock, rawEntry, rawTar } from '../../runtime/images/unpack/tar.fixture.ts';
import type { RawEntry } from '../../runtime/images/unpack/tar.fixture.ts';

/** A layer of an image of the matrix. */
export interface MatrixLayer {
  readonly tar: Buffer;
  /** The archive as it is served. */
  readonly blob: Buffer;
  readonly mediaType: string;
}

const oci = 'application/vnd.oci.image.layer.v1.tar';
const docker = 'application/vnd.docker.image.rootfs.diff.tar';

const gzip = (tar: Buffer): MatrixLayer => ({
  tar,
  blob: gzipSync(tar, { level: 1 }),
  mediaType: `${oci}+gzip`,
});
const zstd = (tar: Buffer): MatrixLayer => ({ tar, blob: zstdCompressSync(tar), mediaType: `${oci}+zstd` });
const plain = (tar: Buffer): MatrixLayer => ({ tar, blob: tar, mediaType: oci });

const range = <T>(n: number, make: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => make(index));
/** Every entry has a time, because missing values of the archive are not a difference between programs. */
const timed = (entries: readonly RawEntry[]): Buffer =>
  rawTar(entries.map((entry) => ({ ...entry, pax: { mtime: '1000000000', ...entry.pax } })));
const folder = (name: string, pax: RawEntry['pax'] = {}): RawEntry => ({ name: `${name}/`, type: '5', pax });
const file = (name: string, body: string | Uint8Array = name, pax: RawEntry['pax'] = {}): RawEntry => ({
  name,
  body,
  pax,
});
const symlink = (name: string, link: string): RawEntry => ({ name, type: '2', link });
const hardLink = (name: string, link: string): RawEntry => ({ name, type: '1', link });
const one = (...entries: readonly RawEntry[]): readonly MatrixLayer[] => [gzip(timed(entries))];
const two = (below: readonly RawEntry[], above: readonly RawEntry[]): readonly MatrixLayer[] => [
  gzip(timed(below)),
  gzip(timed(above)),
];
/** An entry whose header has other fields than those that {@link rawEntry} writes. */
const raw = (...blocks: readonly Buffer[]): readonly MatrixLayer[] => [
  gzip(Buffer.concat([...blocks, endOfArchive])),
];

const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
const base: readonly RawEntry[] = [
  folder('usr'),
  folder('usr/bin'),
  file('usr/bin/tool', 'tool'),
  symlink('bin', 'usr/bin'),
  folder('etc'),
  file('etc/conf', 'old'),
  file('etc/other', 'other'),
];
const mode = (octal: string): readonly [number, string] => [100, `${octal.padStart(7, '0')}\0`];
const mtime: readonly [number, string] = [136, '07346545000\0'];
const device = (name: string, type: string, major: number, minor: number): Buffer =>
  patched(
    rawBlock(name, type, 0),
    ...[mode('660'), mtime],
    [329, `${major.toString(8).padStart(7, '0')}\0`],
    [337, `${minor.toString(8).padStart(7, '0')}\0`],
  );

/**
 * The data of the sparse files: pieces at offsets, of a length that is not a multiple of a block, and a hole
 * at the end.
 */
const pieces = [
  { offset: 0, data: Buffer.alloc(4096, 'a') },
  { offset: 65_536, data: Buffer.alloc(5000, 'b') },
  { offset: 131_072, data: Buffer.from('c') },
] as const;
const sparse = { size: 200_000, pieces } as const;
const twoGibibytes = { size: 2 ** 31, pieces: [{ offset: 2 ** 30, data: Buffer.alloc(8192, 'x') }] } as const;
const many = {
  size: 4096 * 100,
  pieces: range(50, (index) => ({ offset: index * 8192, data: Buffer.alloc(512, 'p') })),
};

/** Each image of the matrix: layers, lowest first. */
export const matrix: Readonly<Record<string, () => readonly MatrixLayer[]>> = {
  gzip: () => one(file('a')),
  'gzip of several members': () => {
    const tar = timed([file('a', Buffer.alloc(9000, 'a')), file('b')]);
    return [
      { ...gzip(tar), blob: Buffer.concat([gzipSync(tar.subarray(0, 5000)), gzipSync(tar.subarray(5000))]) },
    ];
  },
  zstd: () => [zstd(timed([file('a', Buffer.alloc(300_000, 'a'))]))],
  'zstd of several frames': () => {
    const tar = timed([file('a', Buffer.alloc(9000, 'a')), file('b')]);
    return [
      {
        ...zstd(tar),
        blob: Buffer.concat([zstdCompressSync(tar.subarray(0, 5000)), zstdCompressSync(tar.subarray(5000))]),
      },
    ];
  },
  'not compressed': () => [plain(timed([file('a')]))],
  'docker: gzip': () => [{ ...gzip(timed([file('a')])), mediaType: `${docker}.gzip` }],
  'docker: not compressed': () => [{ ...plain(timed([file('a')])), mediaType: docker }],
  'one compression for each layer': () => [
    gzip(timed([file('a')])),
    zstd(timed([file('b')])),
    plain(timed([file('c')])),
  ],

  'a layer without entries': () => [gzip(timed([file('a')])), gzip(rawTar([]))],
  'bytes after the end of the archive': () => [
    gzip(Buffer.concat([timed([file('a')]), Buffer.alloc(5 * 512), Buffer.from('more')])),
  ],
  '20 layers': () =>
    range(20, (index) => gzip(timed([folder('d'), file(`d/f${index}`), file('same', String(index))]))),
  '128 layers': () => range(128, (index) => gzip(timed([file(`f${index}`)]))),
  '500 layers': () => range(500, (index) => gzip(timed([file(`f${index}`), file('same', String(index))]))),

  'empty files': () => one(file('empty', ''), folder('d'), file('d/empty', '')),
  'files of each length around a block and a page': () =>
    one(
      ...[1, 511, 512, 513, 4095, 4096, 4097, 70_000].map((size) =>
        file(`f${size}`, Buffer.alloc(size, 'x')),
      ),
    ),
  '100,000 small files': () => [
    gzip(
      timed([
        ...range(300, (index) => folder(`d${index}`)),
        ...range(100_000, (index) => file(`d${index % 300}/f${index}`, String(index))),
      ]),
    ),
  ],

  'a sparse file of pax 0.0': () => raw(sparseByPax('0.0', 'sparse', sparse)),
  'a sparse file of pax 0.1': () => raw(sparseByPax('0.1', 'sparse', sparse)),
  'a sparse file of pax 1.0': () => raw(sparseByPax('1.0', 'sparse', sparse)),
  'a sparse file of old GNU tar': () => raw(oldSparse('sparse', sparse)),
  'a sparse file of old GNU tar, with a map of several blocks': () => raw(oldSparse('old', many)),
  'a sparse file of pax, with a map of several blocks': () => raw(sparseByPax('1.0', 'pax', many)),
  'a sparse file that is all hole': () => raw(sparseByPax('1.0', 'hole', { size: 1_000_000, pieces: [] })),
  'a sparse file of 2 GiB': () => raw(sparseByPax('1.0', 'large', twoGibibytes)),

  'whiteouts of a file, a folder and a symlink': () =>
    two(base, [file('etc/.wh.conf', ''), file('.wh.bin', ''), file('usr/.wh.bin', '')]),
  'a whiteout and a new file of the same name': () =>
    two(base, [file('etc/.wh.conf', ''), file('etc/conf', 'new')]),
  'a new file before the whiteout of its name': () =>
    two(base, [file('etc/conf', 'new'), file('etc/.wh.conf', '')]),
  'an opaque folder, marked first': () =>
    two(base, [folder('etc'), file('etc/.wh..wh..opq', ''), file('etc/new')]),
  'an opaque folder, marked last': () =>
    two(base, [folder('etc'), file('etc/new'), file('etc/.wh..wh..opq', '')]),
  'whiteouts in an opaque folder': () =>
    two(base, [folder('etc'), file('etc/.wh.conf', ''), file('etc/.wh..wh..opq', ''), file('etc/new')]),
  'an opaque root': () =>
    two(base, [file('.wh..wh..opq', ''), folder('etc'), file('etc/new'), symlink('lib', 'usr/lib')]),
  'an opaque root, with folders that are not listed': () =>
    two(base, [file('.wh..wh..opq', ''), file('etc/new'), file('bin/sh')]),
  'a whiteout of nothing': () => two(base, [folder('etc'), file('etc/.wh.absent', '')]),
  'a folder in place of a file, and a file in place of a folder': () =>
    two(base, [file('usr', 'file'), folder('etc/conf'), file('etc/conf/x')]),

  'hard links': () => one(file('a', 'linked'), folder('d'), hardLink('d/b', 'a'), hardLink('c', 'd/b')),
  'a hard link to a symlink': () => one(symlink('s', '/etc/passwd'), hardLink('t', 's')),
  'a hard link to a file below': () => two(base, [hardLink('etc/copy', 'usr/bin/tool')]),
  'symlinks of each length': () =>
    one(...[1, 447, 448, 512, 4095].map((size) => symlink(`s${size}`, 'x'.repeat(size)))),
  'symlinks that point outside, and entries through them': () =>
    one(
      symlink('abs', '/var/tmp/outside'),
      file('abs/new', '1'),
      symlink('up', '../../../..'),
      file('up/etc/x', '2'),
    ),
  'a folder that is a symlink below': () => two(base, [file('bin/new', 'new')]),

  'one name again and again, with every type': () =>
    one(
      file('a', 'first'),
      file('a', 'second'),
      folder('b'),
      file('b/below'),
      symlink('b', 'a'),
      symlink('c', 'a'),
      file('c', 'plain'),
    ),
  'folders that are not listed': () => [gzip(timed([file('x/y/z', 'z')]))],
  'the time of a folder is set after its content': () =>
    one(
      folder('d', { mtime: '900000000' }),
      file('d/a'),
      folder('d/e', { mtime: '800000000' }),
      file('d/e/f'),
    ),
  'the root': () =>
    raw(
      patched(rawBlock('./', '5', 0), mode('711'), mtime),
      rawEntry(file('a', 'a', { mtime: '1000000000' })),
    ),

  modes: () =>
    raw(
      ...['0', '777', '1777', '2755', '4755', '7777'].map((octal) =>
        patched(rawBlock(`m${octal}`, '0', 0), mode(octal), mtime),
      ),
    ),
  'a set-user-ID file of another owner': () =>
    raw(patched(rawBlock('f', '0', 0), mode('6755'), [108, '0000007\0'], mtime)),
  'owners of 32 bits': () => one(file('u', 'u', { uid: '3000000', gid: '4000000000' })),
  'a size and an owner in base 256': () =>
    raw(
      patched(
        rawBlock('f', '0', 0),
        [124, `\u0080${'\0'.repeat(9)}\u0002\u0058`],
        [108, '\u0080\0\0\0\0\u002d\u00c6\u00c0'],
        mtime,
      ),
      Buffer.alloc(1024).fill('x', 0, 600),
    ),
  'times with nanoseconds': () =>
    one(
      file('n', 'n', { mtime: '1234567890.123456789' }),
      symlink('s', 'n'),
      file('m', 'm', { mtime: '1.000000001' }),
    ),
  capabilities: () => one(file('ping', 'x', { 'SCHILY.xattr.security.capability': capability })),
  'attributes of users': () =>
    one(
      file('f', 'x', { 'SCHILY.xattr.user.a': 'value', 'SCHILY.xattr.user.empty': '' }),
      folder('d', { 'SCHILY.xattr.user.d': 'v' }),
    ),
  'attributes whose names are not ASCII': () =>
    one(file('f', 'x', { 'SCHILY.xattr.user.d\u00c3\u00a9': 'value' })),
  'labels of the builder': () =>
    one(file('f', 'x', { 'SCHILY.xattr.security.selinux': 'label', 'SCHILY.xattr.trusted.a': 'b' })),

  devices: () => raw(device('null', '3', 1, 3), device('disk', '4', 259, 70_000), device('fifo', '6', 0, 0)),
  'paths, link paths and sizes of pax': () =>
    raw(
      extendedHeader(
        Buffer.concat([
          paxRecord('path', 'real/name'),
          paxRecord('size', '600'),
          paxRecord('mtime', '1000000000'),
        ]),
      ),
      rawBlock('header/name', '0', 0),
      Buffer.alloc(1024).fill('x', 0, 600),
      extendedHeader(Buffer.concat([paxRecord('linkpath', 'real/name'), paxRecord('mtime', '1000000000')])),
      rawBlock('hard', '1', 0, 'header/name'),
    ),
  'GNU long names and links': () =>
    raw(
      extendedHeader(Buffer.from(`${'long/'.repeat(60)}name\0`), 'L'),
      patched(rawBlock('cut', '0', 0), mtime),
      extendedHeader(Buffer.from(`${'to/'.repeat(60)}there\0`), 'K'),
      patched(rawBlock('link', '2', 0, 'cut'), mtime),
    ),
  'headers that contradict each other': () => {
    const pax = extendedHeader(Buffer.concat([paxRecord('path', 'of-pax'), paxRecord('linkpath', 'of-pax')]));
    const gnu = (name: string): Buffer => extendedHeader(Buffer.from(`${name}\0`), 'L');
    return raw(
      ...[pax, gnu('of-gnu'), patched(rawBlock('one', '0', 0), mtime)],
      ...[gnu('of-gnu-2'), pax, patched(rawBlock('two', '2', 0, 'own'), mtime)],
      ...[pax, extendedHeader(paxRecord('comment', 'x'), 'g'), patched(rawBlock('three', '0', 0), mtime)],
      ...[patched(rawBlock('v7/', '\0', 0), mtime), patched(rawBlock('file/', '0', 0), mtime)],
      patched(rawBlock('four', '0', 0), mtime, [257, 'ustar  \0'], [345, 'of-go']),
    );
  },
  'names of 255 bytes, and deep folders': () =>
    one(
      folder('n'.repeat(255)),
      file(`${'n'.repeat(255)}/${'m'.repeat(255)}`, 'x'),
      file(`${'d/'.repeat(300)}f`, 'y'),
    ),
  'names that are not UTF-8': () => one(file('f\u00ff', 'x'), folder('d\u00e9'), file('d\u00e9/\u0001', 'y')),
};

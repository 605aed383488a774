import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { ImageLimits } from '../limits/limits.ts';
import { tarOf } from '../test-kit.ts';
import type { Entry } from '../test-kit.ts';
import { endOfArchive, rawBlock, rawTar } from '../unpack/tar.fixture.ts';
import { range } from '../unpack/unpack.fixture.ts';
import { codeOf, encode, patched, unpack } from './erofs.fixture.ts';

let folder = '';
let count = 0;
before(() => {
  folder = mkdtempSync('/dev/shm/portcullis-erofs-refusals-');
});
after(() => {
  rmSync(folder, { recursive: true });
});

const raw = (...blocks: readonly Buffer[]): Buffer => Buffer.concat([...blocks, endOfArchive]);
const pax = (record: Readonly<Record<string, string>>): Buffer =>
  rawTar([{ name: 'f', body: 'x', pax: record }]);
const entries = (...all: readonly Entry[]): Promise<Buffer> => tarOf(all);
const limited = (tar: Buffer, limits: Partial<ImageLimits>, blob = tar): Hostile => ({ tar, limits, blob });

interface Hostile {
  readonly tar: Buffer;
  readonly blob?: Buffer;
  readonly limits?: Partial<ImageLimits>;
}

const zeros = rawTar([{ name: 'zeros', body: Buffer.alloc(1024 * 1024) }]);

const hostile: Readonly<Record<string, readonly [string, () => Hostile | Buffer | Promise<Buffer>]>> = {
  'a name that begins with ".."': ['IMAGES_LAYER_BAD_NAME', () => entries({ name: '../outside', body: 'x' })],
  'a name with ".." in the middle': [
    'IMAGES_LAYER_BAD_NAME',
    () => entries({ name: 'a/../../outside', body: 'x' }),
  ],
  'a whiteout of ".."': ['IMAGES_LAYER_BAD_NAME', () => entries({ name: 'a/.wh...' })],
  'a whiteout of "."': ['IMAGES_LAYER_BAD_NAME', () => entries({ name: 'a/.wh..' })],
  'a whiteout without a name': ['IMAGES_LAYER_BAD_NAME', () => entries({ name: '.wh.' })],
  'a file below a file': ['IMAGES_LAYER_BAD_NAME', () => entries({ name: 'a' }, { name: 'a/b' })],
  'a file as the root': ['IMAGES_LAYER_BAD_NAME', () => entries({ name: './' }, { name: '.', body: 'x' })],
  'symlinks in a loop': [
    'IMAGES_LAYER_BAD_NAME',
    () =>
      entries(
        { name: 'a', type: 'symlink', linkname: 'b' },
        { name: 'b', type: 'symlink', linkname: 'a' },
        { name: 'a/f' },
      ),
  ],
  'a name of 256 bytes': ['IMAGES_LAYER_BAD_NAME', () => rawTar([{ name: 'x'.repeat(256) }])],
  'a symlink to 4,096 bytes': [
    'IMAGES_LAYER_BAD_NAME',
    () => rawTar([{ name: 's', type: '2', link: 'x'.repeat(4096) }]),
  ],
  'a symlink to nothing': ['IMAGES_LAYER_BAD_LINK', () => rawTar([{ name: 's', type: '2' }])],
  'a hard link with ".."': [
    'IMAGES_LAYER_BAD_NAME',
    () => entries({ name: 'l', type: 'link', linkname: '../outside' }),
  ],
  'a hard link to itself': [
    'IMAGES_LAYER_BAD_LINK',
    () => entries({ name: 'l' }, { name: 'l', type: 'link', linkname: 'l' }),
  ],
  'a hard link to a missing file': [
    'IMAGES_LAYER_BAD_LINK',
    () => entries({ name: 'l', type: 'link', linkname: 'missing' }),
  ],
  'a hard link to a folder': [
    'IMAGES_LAYER_BAD_LINK',
    () => entries({ name: 'd', type: 'directory' }, { name: 'l', type: 'link', linkname: 'd' }),
  ],
  'a hard link to a whiteout': [
    'IMAGES_LAYER_BAD_LINK',
    () => entries({ name: '.wh.w' }, { name: 'l', type: 'link', linkname: 'w' }),
  ],
  'a device that overlayfs would read as a whiteout': [
    'IMAGES_LAYER_UNSUPPORTED',
    () => entries({ name: 'w', type: 'character-device', devmajor: 0, devminor: 0 }),
  ],
  'a sparse file of pax without a size': [
    'IMAGES_LAYER_CORRUPT',
    () => pax({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' }),
  ],
  'an old sparse file': ['IMAGES_LAYER_UNSUPPORTED', () => raw(rawBlock('s', 'S', 0))],
  'an unknown type of entry': ['IMAGES_LAYER_UNSUPPORTED', () => raw(rawBlock('v', 'V', 0))],
  'an owner that means "unchanged"': ['IMAGES_LAYER_UNSUPPORTED', () => pax({ uid: '4294967295' })],
  'an owner of 33 bits': ['IMAGES_LAYER_UNSUPPORTED', () => pax({ gid: '4294967296' })],
  'a body that ends early': ['IMAGES_LAYER_TRUNCATED', () => zeros.subarray(0, 900)],
  'a header that ends early': ['IMAGES_LAYER_TRUNCATED', () => zeros.subarray(0, 300)],
  'a gzip stream that ends early': [
    'IMAGES_LAYER_TRUNCATED',
    () => ({ tar: zeros, blob: gzipSync(zeros).subarray(0, -12) }),
  ],
  'a wrong checksum': ['IMAGES_LAYER_CORRUPT', () => Buffer.concat([Buffer.from('Z'), zeros.subarray(1)])],
  'an entry after one block of zeros': [
    'IMAGES_LAYER_CORRUPT',
    () => Buffer.concat([Buffer.alloc(512), zeros]),
  ],
  'a pax record that is not a record': ['IMAGES_LAYER_CORRUPT', () => pax({ mtime: 'yesterday' })],
  'a file capability that is malformed': [
    'IMAGES_LAYER_CORRUPT',
    () => pax({ 'SCHILY.xattr.security.capability': 'junk' }),
  ],
  'an attribute whose name is only a prefix': [
    'IMAGES_LAYER_CORRUPT',
    () => pax({ 'SCHILY.xattr.user.': 'note' }),
  ],
  'another diff id': ['IMAGES_DIFF_ID_MISMATCH', () => ({ tar: zeros, blob: rawTar([{ name: 'other' }]) })],
  'a decompression bomb, by its ratio': [
    'IMAGES_LAYER_TOO_LARGE',
    () => limited(zeros, { ratioFloorBytes: 1024, maxRatio: 10 }, gzipSync(zeros)),
  ],
  'too many bytes': ['IMAGES_LAYER_TOO_LARGE', () => limited(zeros, { maxLayerBytes: 100_000 })],
  'too many entries': [
    'IMAGES_LAYER_TOO_LARGE',
    () => limited(rawTar(range(20, (index) => ({ name: `f${index}` }))), { maxEntries: 19 }),
  ],
  'too many folders that no entry lists': [
    'IMAGES_LAYER_TOO_LARGE',
    () => limited(rawTar([{ name: 'a/b/c/d/e' }]), { maxEntries: 4 }),
  ],
  'paths whose total length is too large': [
    'IMAGES_LAYER_TOO_LARGE',
    () =>
      limited(rawTar(range(20, (index) => ({ name: `${'x'.repeat(200)}${index}` }))), { maxPathBytes: 1000 }),
  ],
  'link targets whose total length is too large': [
    'IMAGES_LAYER_TOO_LARGE',
    () =>
      limited(rawTar(range(20, (index) => ({ name: `s${index}`, type: '2', link: 'x'.repeat(200) }))), {
        maxKeptBytes: 1000,
      }),
  ],
  'too many hard links to files below': [
    'IMAGES_LAYER_TOO_LARGE',
    () =>
      limited(rawTar(range(20, (index) => ({ name: `l${index}`, type: '1', link: 'below' }))), {
        maxPendingLinks: 19,
      }),
  ],
  'symlinks that multiply the steps of names': [
    'IMAGES_LAYER_TOO_LARGE',
    () =>
      rawTar([
        { name: 'a', type: '5' },
        { name: 's', type: '2', link: range(680, () => './a/..').join('/') },
        ...range(3000, (index) => ({ name: `s/x${index}/f` })),
      ]),
  ],
};

describe('an archive is refused with the same code as in the folder form, and leaves nothing', () => {
  for (const [what, [code, make]] of Object.entries(hostile)) {
    it(`${what}: ${code}`, async () => {
      const made = await make();
      const { tar, ...options }: Hostile = Buffer.isBuffer(made) ? { tar: made } : made;
      const place = `${folder}/${count++}`;
      mkdirSync(place);
      assert.equal(await codeOf(() => encode(`${place}/file`, tar, options)), code);
      assert.equal(existsSync(`${place}/file`), false);
      assert.equal(await codeOf(() => unpack(`${place}/folder`, tar, options)), code);
    });
  }

  it('a device number that Linux does not support: IMAGES_LAYER_UNSUPPORTED; the folder form fails to write it', async () => {
    for (const field of [
      [329, '0010000\0'],
      [337, '4000000\0'],
    ] as const) {
      const tar = raw(patched(rawBlock('d', '4', 0), field));
      assert.equal(await codeOf(() => encode(`${folder}/${count++}`, tar)), 'IMAGES_LAYER_UNSUPPORTED');
    }
  });
});

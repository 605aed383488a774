import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { findTool } from '../../../test/fixtures/tools.ts';
import { defaultLimits } from '../limits/limits.ts';
import { tarOf } from '../test-kit.ts';
import type { Entry } from '../test-kit.ts';
import { createLayerBudget } from '../unpack/layer-budget.ts';
import { createTarReader } from '../unpack/tar-reader.ts';
import {
  endOfArchive,
  paxRecord,
  extendedHeader,
  rawBlock,
  rawEntry,
  rawTar,
} from '../unpack/tar.fixture.ts';
import type { RawEntry } from '../unpack/tar.fixture.ts';
import { range } from '../unpack/unpack.fixture.ts';
import { codeOf, encode, listTree, patched, unpack } from './erofs.fixture.ts';
import { createLayerFileWriter } from './layer-file.ts';
import { assertJudged, judged, layersOfEachTest, mountable } from './layers.fixture.ts';
import { eachFolder } from './tree.ts';
import { createTreeWriter } from './tree-writer.ts';

const { kernel, folder, newPath, memoryPath, mounted, same } = layersOfEachTest();

const nanoseconds = 'an mtime of 0.123456789 s';
/** `npm run test:image-trees` compares an image of 100,000. */
const small = 20_000;
const day = { mtime: new Date(1_000_000_000_000) };
const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');

/** One archive for each special case; each is compared with the folder form, and checked by fsck.erofs. */
const traps: Readonly<Record<string, () => Promise<Buffer> | Buffer>> = {
  'an archive without entries': () => endOfArchive,
  'an archive of zero bytes': () => Buffer.alloc(0),
  'files of each length around a block and a page': () =>
    tarOf(
      [0, 1, 511, 512, 513, 4095, 4096, 4097, 8191, 70_000].map((size) => ({
        name: `f${size}`,
        body: Buffer.alloc(size, 'x'),
      })),
    ),
  'hard links, also of a replaced name, of a symlink and of a device': () =>
    tarOf([
      { name: 'a', body: 'first' },
      { name: 'b', type: 'link', linkname: 'a' },
      { name: 'd/c', type: 'link', linkname: 'b' },
      { name: 'a', body: 'second' },
      { name: 's', type: 'symlink', linkname: '/etc/passwd' },
      { name: 't', type: 'link', linkname: 's' },
      { name: 'n', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 },
      { name: 'm', type: 'link', linkname: 'n' },
    ]),
  'symlinks of each length around a block and a page': () =>
    rawTar(
      [1, 447, 448, 449, 511, 512, 513, 4095].map((size): RawEntry => ({
        name: `s${size}`,
        type: '2',
        link: 'x'.repeat(size),
      })),
    ),
  'devices and FIFOs': () =>
    tarOf([
      { name: 'null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 },
      { name: 'disk', type: 'block-device', devmajor: 259, devminor: 70_000, mode: 0o660, uid: 7 },
      { name: 'zero', type: 'block-device', devmajor: 0, devminor: 0 },
      { name: 'fifo', type: 'fifo', mode: 0o640, ...day },
    ]),
  'whiteouts in and below opaque folders': () =>
    tarOf([
      { name: 'opaque/.wh.gone' },
      { name: 'opaque/.wh..wh..opq' },
      { name: 'opaque/sub/.wh.gone' },
      { name: 'opaque/sub/here', body: 'here' },
    ]),
  'whiteouts beside an opaque mark of the root': () =>
    tarOf([{ name: '.wh..wh..opq' }, { name: '.wh.gone' }, { name: 'sub/.wh.gone' }]),
  'whiteouts and opaque folders, in either order': () =>
    tarOf([
      { name: '.wh.gone' },
      { name: 'both', body: 'here' },
      { name: '.wh.both' },
      { name: 'opaque/new', body: 'here' },
      { name: 'opaque/.wh..wh..opq' },
      { name: '.wh.again' },
      { name: 'again', type: 'directory' },
      { name: '.wh.then' },
      { name: 'then/new', body: 'here' },
      { name: '.wh..wh.plnk', type: 'directory' },
      { name: '.wh..wh..opq' },
    ]),
  'capabilities and user attributes; labels of the builder are dropped': () =>
    rawTar([
      {
        name: 'ping',
        body: 'x',
        pax: { 'SCHILY.xattr.security.capability': capability, 'SCHILY.xattr.security.selinux': 'label' },
      },
      {
        name: 'd/',
        type: '5',
        pax: { 'SCHILY.xattr.user.folder': 'value', 'SCHILY.xattr.trusted.overlay.redirect': 'elsewhere' },
      },
      { name: 'd/.wh..wh..opq' },
      {
        name: 'd/large',
        pax: {
          'SCHILY.xattr.user.a': 'v'.repeat(60_000),
          'SCHILY.xattr.user.b': Buffer.from([0, 1, 255]),
          'SCHILY.xattr.user.c': '',
        },
      },
      { name: 'd/equal', pax: { 'SCHILY.xattr.user.folder': 'value' } },
      { name: 'd/link', type: '2', link: 'x', pax: { 'SCHILY.xattr.user.folder': 'value' } },
    ]),
  'attributes whose names are not ASCII, and not UTF-8': () =>
    rawTar([
      { name: 'f', pax: { [`SCHILY.xattr.${Buffer.from('user.d\u00e9').toString('latin1')}`]: 'value' } },
      { name: 'd/', type: '5', pax: { 'SCHILY.xattr.user.\u00ff': 'value' } },
    ]),
  'a set-user-ID file of another owner with a capability': () =>
    Buffer.concat([
      extendedHeader(paxRecord('SCHILY.xattr.security.capability', capability)),
      patched(rawBlock('f', '0', 0), [100, '0006755\0'], [108, '0000007\0']),
      endOfArchive,
    ]),
  'a size and an owner in base 256': () =>
    Buffer.concat([
      patched(
        rawBlock('f', '0', 0),
        [124, `\u0080${'\0'.repeat(9)}\u0002\u0058`],
        [108, '\u0080\0\0\0\0\u002d\u00c6\u00c0'],
      ),
      Buffer.alloc(1024, 'x', 'latin1').fill(0, 600),
      rawEntry({ name: 'next', body: 'y' }),
      endOfArchive,
    ]),
  'a path, link path, size and owner that pax overrides': () =>
    Buffer.concat([
      extendedHeader(
        Buffer.concat([
          paxRecord('path', 'real/name'),
          paxRecord('size', '600'),
          paxRecord('uid', '3000000'),
        ]),
      ),
      rawBlock('header/name', '0', 0),
      Buffer.alloc(1024).fill('x', 0, 600),
      extendedHeader(paxRecord('linkpath', 'real/name')),
      rawBlock('hard', '1', 0, 'header/name'),
      endOfArchive,
    ]),
  'owners of 32 bits': () =>
    tarOf([0, 65_535, 65_536, 1_999_999].map((id) => ({ name: `u${id}`, uid: id, gid: id + 1 }))),
  'the highest owner': () => rawTar([{ name: 'u', pax: { uid: '4294967294', gid: '4294967294' } }]),
  'the modes': () =>
    tarOf(
      [0, 0o777, 0o1777, 0o2755, 0o4755, 0o7777].map((mode) => ({
        name: `m${mode}`,
        mode,
        type: 'directory' as const,
      })),
    ),
  [nanoseconds]: () =>
    rawTar([
      { name: 'n', pax: { mtime: '1234567890.123456789' } },
      { name: 'd/', type: '5', pax: { mtime: '1234567890.999999999' } },
      { name: 'before', pax: { mtime: '-5.5' } },
      { name: 'late', pax: { mtime: '9999999999999'.slice(0, 12) } },
      { name: 's', type: '2', link: 'n', pax: { mtime: '1.5' } },
    ]),
  'names of 255 bytes, deep folders and names that are not UTF-8': () =>
    rawTar([
      { name: `${'n'.repeat(255)}/${'m'.repeat(255)}`, body: 'x' },
      { name: `${'d/'.repeat(300)}f`, body: 'y' },
      { name: 'd\u00e9/f\u00ff', body: 'z' },
      { name: '.wh.w\u00fe' },
      ...['!', '-', '.a', '..a', '...', '/x', '\u0001', '~', '\u00ff'].map((name) => ({ name, body: name })),
    ]),
  'GNU long names and links': () =>
    Buffer.concat([
      extendedHeader(Buffer.from(`${'long/'.repeat(60)}name\0`), 'L'),
      rawBlock('cut', '0', 0),
      extendedHeader(Buffer.from(`${'to/'.repeat(60)}there\0`), 'K'),
      rawBlock('link', '2', 0, 'cut'),
      endOfArchive,
    ]),
  'one name again and again, with every type': () =>
    tarOf([
      { name: 'a', body: 'file' },
      { name: 'a', type: 'directory' },
      { name: 'a/below', body: 'x' },
      { name: 'b', type: 'directory' },
      { name: 'b/below', body: 'x' },
      { name: 'b', type: 'symlink', linkname: 'a' },
      { name: 'b/through', body: 'y' },
      { name: 'c', type: 'symlink', linkname: '/etc/hostname' },
      { name: 'c', body: 'plain' },
      { name: 'e', type: 'fifo' },
      { name: 'e', type: 'directory', mode: 0o700 },
      { name: 'e', type: 'directory', mode: 0o711, ...day },
    ]),
  'symlinks that point outside': () =>
    tarOf([
      { name: 'abs', type: 'symlink', linkname: '/var/tmp/outside' },
      { name: 'abs/new', body: '1' },
      { name: 'up', type: 'symlink', linkname: '../../../../../../..' },
      { name: 'up/etc/shadow', body: '2' },
      { name: 'hard', type: 'link', linkname: 'abs/new' },
    ]),
  'the root, and folders that are not listed': () =>
    tarOf([
      { name: './', type: 'directory', mode: 0o711, uid: 3, ...day },
      { name: 'x/y/z', body: 'z' },
      { name: 'x', type: 'directory', mode: 0o500, ...day },
    ]),
  'bytes after the end of the archive': async () =>
    Buffer.concat([await tarOf([{ name: 'a', body: 'a' }]), Buffer.from('more, not at a block boundary')]),
  'a folder of 5,000 names': () =>
    rawTar(
      range(5000, (index) => ({ name: `folder/${'x'.repeat(index % 240)}${index}`, body: String(index) })),
    ),
};

describe('a mounted layer file has the tree of the folder form', mountable, () => {
  for (const [what, make] of Object.entries(traps)) {
    it(what, async () => {
      await same(await make());
    });
  }

  it('from gzip, zstd and several members', async () => {
    const tar = rawTar(
      range(40, (index) => ({ name: `f${index}`, body: Buffer.alloc(20_000 + index, String(index)) })),
    );
    for (const blob of [
      gzipSync(tar),
      zstdCompressSync(tar),
      Buffer.concat([gzipSync(tar.subarray(0, 99_999)), gzipSync(tar.subarray(99_999))]),
    ])
      await same(tar, { blob });
  });

  it(`with ${small} small files`, async () => {
    const tar = rawTar(
      range(small, (index) => ({ name: `${index % 300}/${index % 7}/file-${index}`, body: String(index) })),
    );
    const { lines } = await same(tar);
    assert.ok(lines.length > small);
  });
});

it('the memory of a layer’s buffers is freed when the layer is written', async () => {
  const tar = rawTar([{ name: 'file', body: 'content' }]);
  await encode(memoryPath(), tar);
  const before = process.memoryUsage().arrayBuffers;
  for (let layer = 0; layer < 20; layer += 1) await encode(memoryPath(), tar);
  const left = process.memoryUsage().arrayBuffers - before;
  assert.ok(left < 2 * 1024 * 1024, `${left} bytes are left`);
});

describe('fsck.erofs accepts', { skip: judged.skip === false ? mountable.skip : judged.skip }, () => {
  for (const [what, make] of Object.entries(traps)) {
    it(what, async () => {
      const path = newPath();
      await encode(path, await make());
      assertJudged(path);
    });
  }

  it(
    'the superblock, as dump.erofs reads it',
    findTool('dump.erofs').skip === false ? {} : { skip: findTool('dump.erofs').skip },
    async () => {
      const path = newPath();
      const { inodes, bytes } = await encode(path, await tarOf([{ name: 'a/b', body: 'x' }, { name: 'c' }]));
      const { stdout } = spawnSync(findTool('dump.erofs').path, ['-s', path], { encoding: 'utf8' });
      assert.match(stdout, new RegExp(`blocksize: +512\n.*blocks: +${bytes / 512}\n`));
      assert.match(stdout, new RegExp(`inode count: +${inodes}\n`));
      assert.match(stdout, /incompatible features: *\n/);
    },
  );
});

describe('over layers below', mountable, () => {
  const base: readonly Entry[] = [
    { name: 'usr/bin/tool', body: 'tool', mode: 0o4755, uid: 7 },
    { name: 'bin', type: 'symlink', linkname: 'usr/bin' },
    { name: 'hidden/file', body: 'old' },
    { name: 'tmp', type: 'directory', mode: 0o1777, ...day },
    { name: 'home/user', type: 'directory', mode: 0o750, uid: 1000, gid: 1001, ...day },
    { name: 'dev/null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o600 },
  ];
  const above: Readonly<Record<string, readonly Entry[]>> = {
    'folders that are not listed have the attributes of the folders below': [
      { name: 'tmp/x' },
      { name: 'home/user/.profile' },
    ],
    'hard links to files below are copied': [
      { name: 'one', type: 'link', linkname: 'bin/tool' },
      { name: 'two', type: 'link', linkname: 'bin/tool' },
      { name: 'three', type: 'link', linkname: 'two' },
      { name: 'device', type: 'link', linkname: 'dev/null' },
      { name: 'symlink', type: 'link', linkname: 'bin' },
    ],
    'entries whose folder is a symlink below are moved to its target': [
      { name: 'bin/new', body: 'n' },
      { name: 'bin/sub/deep', body: 'd' },
      { name: 'bin/.wh.tool' },
    ],
    'a layer that lists its folders does not depend on the layers below': [
      { name: 'tmp', type: 'directory' },
      { name: 'tmp/c' },
    ],
  };
  for (const [what, entries] of Object.entries(above)) {
    it(what, async () => {
      const lower = await mounted(await tarOf(base));
      await same(await tarOf(entries), { lowers: [lower.root] });
    });
  }

  it('extended attributes are taken over from the layers below', async () => {
    const attributes = {
      'SCHILY.xattr.user.a': 'value',
      'SCHILY.xattr.security.capability': capability,
      mtime: '1000000000.25',
    };
    const lower = await mounted(
      rawTar([
        { name: 'd/', type: '5', pax: { 'SCHILY.xattr.user.folder': 'value' } },
        { name: 'd/f', body: 'x'.repeat(5000), pax: attributes },
        { name: 'd/empty', pax: attributes },
      ]),
    );
    const top = rawTar([
      { name: 'd/new' },
      { name: 'l', type: '1', link: 'd/f' },
      { name: 'm', type: '1', link: 'd/empty' },
    ]);
    const { lines } = await same(top, { lowers: [lower.root] });
    assert.equal(lines.filter((line) => line.includes('security.capability')).length, 2);
    assert.equal(lines.filter((line) => line.includes('user.folder')).length, 1);
  });

  it('hidden files are not copied', async () => {
    const lower = await mounted(await tarOf(base));
    const middle = await mounted(await tarOf([{ name: 'hidden/.wh.file' }]), { lowers: [lower.root] });
    const top = await tarOf([{ name: 'l', type: 'link', linkname: 'hidden/file' }]);
    assert.equal(
      await codeOf(() => encode(newPath(), top, { lowers: [middle.root, lower.root] })),
      'IMAGES_LAYER_BAD_LINK',
    );
  });

  /** Returns the tree that overlayfs shows of layers, lowest first, which is the same for both forms. */
  async function overlaid(layers: readonly (readonly Entry[])[]): Promise<readonly string[]> {
    const files: { readonly root: string }[] = [];
    const folders: string[] = [];
    for (const entries of layers) {
      const tar = await tarOf(entries);
      files.unshift(await mounted(tar, { lowers: files.map(({ root }) => root) }));
      folders.unshift((await unpack(memoryPath(), tar, { lowers: [...folders] })).root);
    }
    const trees: (readonly string[])[] = [];
    for (const lower of [files.map(({ root }) => root), folders]) {
      const target = newPath();
      const make = { uid: 0, gid: 0, mode: 0o755 };
      await kernel().mountOverlay({
        lower,
        upper: `${target}/upper`,
        work: `${target}/work`,
        target: `${target}/merged`,
        make,
      });
      trees.push(listTree(`${target}/merged`));
      await kernel().umount(`${target}/merged`);
    }
    assert.deepEqual(trees[0], trees[1]);
    return trees[0] ?? [];
  }

  it('overlayfs shows the same tree over layer files as over folders', async () => {
    const lines = await overlaid([
      base,
      [
        { name: '.wh.bin' },
        { name: 'usr/.wh..wh..opq' },
        { name: 'usr/new', body: 'new' },
        { name: 'tmp/x', body: 'x' },
        { name: 'hidden/.wh.file' },
      ],
    ]);
    assert.equal(
      lines.some((line) => line.includes('tool') || line.startsWith('"/bin"')),
      false,
    );
  });

  it('an opaque root hides all layers below, and nothing of its own layer or of those above', async () => {
    const lines = await overlaid([
      base,
      [{ name: 'usr/other' }, { name: 'var/log' }, { name: 'w\u00f6' }],
      [
        { name: 'usr/own', mode: 0o600 },
        { name: 'tmp', body: 'a file' },
        { name: '.wh..wh..opq' },
        { name: '.wh.home' },
        { name: 'bin/sh' },
      ],
      [{ name: 'home/new' }, { name: 'again', type: 'link', linkname: 'usr/own' }],
    ]);
    assert.deepEqual(
      lines.map((line) => line.split(' ')[0]),
      ['""', '"/again"', '"/bin"', '"/bin/sh"', '"/home"', '"/home/new"', '"/tmp"', '"/usr"', '"/usr/own"'],
    );
  });

  it('a layer with an opaque root has no hard links to files below', async () => {
    const lower = await mounted(await tarOf(base));
    const top = await tarOf([
      { name: '.wh..wh..opq' },
      { name: 'l', type: 'link', linkname: 'usr/bin/tool' },
    ]);
    assert.equal(
      await codeOf(() => encode(newPath(), top, { lowers: [lower.root] })),
      'IMAGES_LAYER_BAD_LINK',
    );
  });
});

describe('an archive in parts of any length', () => {
  it('gives the same places', () => {
    const content = (index: number): string => String(index).repeat(index * 37);
    const tar = rawTar(
      range(30, (index) => ({ name: `${'d/'.repeat(index * 9)}f${index}`, body: content(index) })),
    );
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 40 }), (lengths) => {
        const path = newPath();
        const fd = openSync(path, 'w+');
        const file = createLayerFileWriter(fd);
        const tree = createTreeWriter(
          createLayerBudget(defaultLimits, () => undefined),
          file.positionOf,
        );
        const reader = createTarReader(tree);
        for (let [at, turn] = [0, 0]; at < tar.length; turn += 1) {
          const length = lengths[turn % lengths.length] ?? 1;
          // The decompressor returns parts of buffers that it has already used.
          const part = Buffer.concat([Buffer.from('before'), tar.subarray(at, at + length)]).subarray(6);
          file.archive(part);
          reader.push(part);
          at += length;
        }
        const whole = readFileSync(path);
        let files = 0;
        eachFolder(tree.root, (each) => {
          for (const [name, node] of each.children) {
            if (node.kind !== 'file') continue;
            assert.equal(
              whole.toString('latin1', node.at, node.at + node.size),
              content(Number(name.slice(1))),
            );
            files++;
          }
        });
        assert.equal(files, 30);
        closeSync(fd);
        rmSync(path);
      }),
      { numRuns: 100 },
    );
  });
});

describe('a layer file', mountable, () => {
  it('is the same for the same archive, however it is compressed', async () => {
    const tar = rawTar(
      range(50, (index) => ({
        name: `d${index % 5}/f${index}`,
        body: String(index),
        pax: { 'SCHILY.xattr.user.a': 'b' },
      })),
    );
    const paths = [newPath(), newPath()];
    const layers = [
      await encode(paths[0] ?? '', tar),
      await encode(paths[1] ?? '', tar, { blob: gzipSync(tar) }),
    ];
    assert.deepEqual(layers[0], layers[1]);
    assert.ok(readFileSync(paths[0] ?? '').equals(readFileSync(paths[1] ?? '')));
  });

  it('contains the unchanged archive', async () => {
    const path = newPath();
    const tar = await tarOf([{ name: 'a', body: 'content' }]);
    await encode(path, tar);
    assert.ok(
      readFileSync(path)
        .subarray(4096, 4096 + tar.length)
        .equals(tar),
    );
    assert.equal(statSync(path).size % 4096, 0);
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  it('replaces a file that a killed Worker left', async () => {
    const path = newPath();
    const tar = await tarOf([{ name: 'a', body: 'content' }]);
    await encode(path, Buffer.concat([tar, Buffer.alloc(100_000)]));
    const { bytes } = await encode(path, tar);
    assert.equal(statSync(path).size, bytes);
  });

  it('is not left behind by a refused archive', async () => {
    const tar = await tarOf([{ name: 'a', body: 'x' }, { name: '../b' }]);
    assert.equal(await codeOf(() => encode(`${folder()}/layer`, tar)), 'IMAGES_LAYER_BAD_NAME');
    assert.deepEqual(readdirSync(folder()).sort(), ['layer.blob', 'memory']);
  });

  it('keeps equal attributes once in memory, and others up to the limit', async () => {
    const equal = rawTar(
      range(2000, (index) => ({ name: `f${index}`, pax: { 'SCHILY.xattr.user.a': 'v'.repeat(1000) } })),
    );
    await encode(newPath(), equal, { limits: { maxKeptBytes: 10_000 } });
    const different = rawTar(
      range(20, (index) => ({ name: `f${index}`, pax: { 'SCHILY.xattr.user.a': `${index}`.padEnd(1000) } })),
    );
    assert.equal(
      await codeOf(() => encode(newPath(), different, { limits: { maxKeptBytes: 10_000 } })),
      'IMAGES_LAYER_TOO_LARGE',
    );
  });

  it('refuses attributes that do not fit in its format', async () => {
    for (const [value, code] of [
      ['v'.repeat(65_535), undefined],
      ['v'.repeat(65_536), 'IMAGES_LAYER_TOO_LARGE'],
    ] as const)
      assert.equal(
        await codeOf(() => encode(newPath(), rawTar([{ name: 'f', pax: { 'SCHILY.xattr.user.a': value } }]))),
        code,
      );
    const many = Object.fromEntries(range(12, (index) => [`SCHILY.xattr.user.${index}`, 'v'.repeat(60_000)]));
    assert.equal(
      await codeOf(() => encode(newPath(), rawTar([{ name: 'f', pax: many }]))),
      'IMAGES_LAYER_TOO_LARGE',
    );
    const nameless = Buffer.concat([
      extendedHeader(paxRecord('SCHILY.xattr.user.', 'x')),
      rawEntry({ name: 'f' }),
      endOfArchive,
    ]);
    assert.equal(await codeOf(() => encode(newPath(), nameless)), 'IMAGES_LAYER_CORRUPT');
  });
});

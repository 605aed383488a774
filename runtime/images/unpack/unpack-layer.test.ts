import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { getXattr, listXattr, mountOverlay, setXattr, umount } from '../../../base/kernel/index.ts';
import { defaultLimits } from '../limits/limits.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { sha256, tarOf } from '../test-kit.ts';
import type { Entry } from '../test-kit.ts';
import { verifyFiles } from './file-manifest.ts';
import { unpackLayer } from './unpack-layer.ts';
import type { UnpackedLayer } from './unpack-layer.ts';
import { createJobCell, createWorkClock } from './work-clock.ts';
import { codeIs } from './unpack.fixture.ts';

let folder: string;
let count = 0;
beforeEach(() => {
  folder = mkdtempSync('/var/tmp/portcullis-unpack-');
  // The files that an escaping archive would reach.
  mkdirSync(`${folder}/outside`);
  writeFileSync(`${folder}/outside/kept`, 'kept');
});
afterEach(() => {
  assert.deepEqual(readdirSync(`${folder}/outside`), ['kept']);
  assert.equal(readFileSync(`${folder}/outside/kept`, 'utf8'), 'kept');
  rmSync(folder, { recursive: true });
});

interface Unpacked extends UnpackedLayer {
  readonly fs: string;
}
async function unpack(
  tar: Uint8Array,
  options: {
    readonly blob?: Uint8Array;
    readonly lowers?: readonly string[];
    readonly limits?: Partial<ImageLimits>;
    readonly diffId?: string;
  } = {},
): Promise<Unpacked> {
  const name = `${folder}/${count++}`;
  writeFileSync(`${name}.blob`, options.blob ?? tar);
  const lowers = options.lowers ?? [];
  const request = {
    blob: `${name}.blob`,
    staging: name,
    diffId: options.diffId ?? sha256(tar),
    lowest: lowers.length === 0,
    limits: { ...defaultLimits, ...options.limits },
  };
  const layer = await unpackLayer(
    request,
    () => Promise.resolve(lowers),
    createWorkClock(createJobCell(), request.diffId),
    new AbortController().signal,
  );
  const manifest = readFileSync(`${name}/files.ndjson`, 'utf8');
  assert.equal(createHash('sha256').update(manifest).digest('hex'), layer.manifestSha256);
  assert.deepEqual(verifyFiles(`${name}/fs`, manifest), []);
  return { ...layer, fs: `${name}/fs` };
}
const unpackEntries = async (entries: readonly Entry[], lowers?: readonly string[]): Promise<Unpacked> =>
  unpack(await tarOf(entries), lowers === undefined ? {} : { lowers });

/** Returns a header block that no normal tool writes. */
function rawHeader(fields: {
  readonly name: string;
  readonly type: string;
  readonly size?: string;
  readonly uid?: Buffer;
  readonly link?: string;
  readonly magic?: string;
}): Buffer {
  const block = Buffer.alloc(512);
  block.write(fields.name, 0, 'latin1');
  block.write('0000644\0', 100);
  (fields.uid ?? Buffer.from('0000000\0')).copy(block, 108);
  block.write('0000000\0', 116);
  block.write(fields.size ?? '00000000000\0', 124);
  block.write('00000000000\0', 136);
  block.write(fields.type, 156, 'latin1');
  block.write(fields.link ?? '', 157, 'latin1');
  block.write(fields.magic ?? 'ustar\u000000', 257, 'latin1');
  block.fill(' ', 148, 156);
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return block;
}
const end = Buffer.alloc(1024);

const kinds = { gnu: 'GNU long names', pax: 'pax headers', ustar: 'ustar' };
for (const [format, what] of Object.entries(kinds)) {
  test(`an archive of GNU tar (${what}) is unpacked unchanged`, async () => {
    const source = `${folder}/source`;
    const deep = format === 'ustar' ? 'd/e' : `${'long-name-'.repeat(15)}/${'x'.repeat(120)}`;
    mkdirSync(`${source}/${deep}`, { recursive: true });
    mkdirSync(`${source}/sticky`);
    chmodSync(`${source}/sticky`, 0o1777);
    writeFileSync(`${source}/${deep}/file`, 'content');
    writeFileSync(`${source}/setuid`, 'x');
    chownSync(`${source}/setuid`, 12, 34);
    chmodSync(`${source}/setuid`, 0o6755);
    writeFileSync(`${source}/empty`, '');
    writeFileSync(`${source}/large`, Buffer.alloc(700_001, 'a'));
    linkSync(`${source}/large`, `${source}/large-link`);
    symlinkSync('/nowhere/../at/all', `${source}/symlink`);
    utimesSync(`${source}/sticky`, 1_111_111_111, 1_111_111_111);
    execFileSync('mkfifo', [`${source}/fifo`]);
    const tar = execFileSync('tar', ['-C', source, `--format=${format}`, '-c', '.'], { maxBuffer: 1e8 });
    const { fs, dependent } = await unpack(tar, { blob: gzipSync(tar) });
    assert.equal(dependent, false);
    const listing = (root: string): string =>
      execFileSync('find', ['.', '-printf', '%P %y %m %U %G %s %T@ %n %l\n'], { cwd: root, encoding: 'utf8' })
        .replace(/(\.\d+)/g, '')
        .split('\n')
        .sort()
        .join('\n');
    // The sizes of folders depend on the file system.
    const files = (text: string): string => text.replace(/ d (\S+ \S+ \S+) \S+/g, ' d $1');
    assert.equal(files(listing(fs)), files(listing(source)));
    assert.equal(
      execFileSync('diff', ['-r', '--no-dereference', '-x', 'fifo', source, fs], { encoding: 'utf8' }),
      '',
    );
  });
}

test('file capabilities and user attributes survive, in binary; labels of the builder do not', async () => {
  const source = `${folder}/source`;
  mkdirSync(source);
  writeFileSync(`${source}/ping`, 'x');
  const capability = Uint8Array.from([1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  setXattr(`${source}/ping`, 'security.capability', capability);
  setXattr(`${source}/ping`, 'user.note', Buffer.from('n=\n\u00ff'));
  setXattr(`${source}/ping`, 'trusted.overlay.opaque', Buffer.from('y'));
  setXattr(`${source}/ping`, 'user.overlay.opaque', Buffer.from('y'));
  const tar = execFileSync('tar', [
    '-C',
    source,
    '--format=pax',
    '--xattrs',
    '--xattrs-include=*',
    '-c',
    'ping',
  ]);
  const { fs } = await unpack(tar);
  assert.deepEqual(getXattr(`${fs}/ping`, 'security.capability'), capability);
  assert.deepEqual(Buffer.from(getXattr(`${fs}/ping`, 'user.note') ?? []), Buffer.from('n=\n\u00ff'));
  assert.deepEqual(listXattr(`${fs}/ping`).sort(), ['security.capability', 'user.note']);
});

test('gzip in several members, zstd and plain archives are read; bytes after the end only affect the diff id', async () => {
  const tar = Buffer.concat([
    await tarOf([{ name: 'a', body: 'one' }]),
    Buffer.alloc(4096),
    Buffer.from('garbage'),
  ]);
  for (const blob of [
    tar,
    gzipSync(tar),
    zstdCompressSync(tar),
    Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]),
  ]) {
    const { fs } = await unpack(tar, { blob });
    assert.deepEqual(readdirSync(fs), ['a']);
  }
});

test('an empty archive is an empty layer', async () => {
  for (const tar of [end, Buffer.alloc(0)]) assert.deepEqual(readdirSync((await unpack(tar)).fs), []);
});

/** The length of a stored block no longer matches its complement. */
function damaged(gzip: Buffer): Buffer {
  gzip[11] = 255 - (gzip[11] ?? 0);
  return gzip;
}

const broken: readonly (readonly [
  string,
  string,
  (tar: Buffer) => { readonly tar: Buffer; readonly blob?: Buffer },
])[] = [
  ['a body that ends early', 'IMAGES_LAYER_TRUNCATED', (tar) => ({ tar: tar.subarray(0, 900) })],
  ['a header that ends early', 'IMAGES_LAYER_TRUNCATED', (tar) => ({ tar: tar.subarray(0, 300) })],
  [
    'a gzip stream that ends early',
    'IMAGES_LAYER_TRUNCATED',
    (tar) => ({ tar, blob: gzipSync(tar).subarray(0, -12) }),
  ],
  [
    'a zstd stream that ends early',
    'IMAGES_LAYER_TRUNCATED',
    (tar) => ({ tar, blob: zstdCompressSync(tar).subarray(0, -6) }),
  ],
  [
    'a damaged gzip stream',
    'IMAGES_LAYER_CORRUPT',
    (tar) => ({ tar, blob: damaged(gzipSync(tar, { level: 0 })) }),
  ],
  [
    'a wrong checksum',
    'IMAGES_LAYER_CORRUPT',
    (tar) => ({ tar: Buffer.concat([Buffer.from('z'), tar.subarray(1)]) }),
  ],
  [
    'an entry after one block of zeros',
    'IMAGES_LAYER_CORRUPT',
    (tar) => ({ tar: Buffer.concat([Buffer.alloc(512), tar]) }),
  ],
  [
    'an unknown entry type',
    'IMAGES_LAYER_UNSUPPORTED',
    () => ({ tar: Buffer.concat([rawHeader({ name: 'v', type: 'V' }), end]) }),
  ],
  [
    'an old sparse file',
    'IMAGES_LAYER_UNSUPPORTED',
    () => ({ tar: Buffer.concat([rawHeader({ name: 's', type: 'S' }), end]) }),
  ],
  [
    'a size that is not a number',
    'IMAGES_LAYER_CORRUPT',
    () => ({ tar: Buffer.concat([rawHeader({ name: 's', type: '0', size: '0000000000x\0' }), end]) }),
  ],
  [
    'an owner out of range',
    'IMAGES_LAYER_UNSUPPORTED',
    () => ({
      tar: Buffer.concat([
        rawHeader({ name: 'u', type: '0', uid: Buffer.from([0x80, 0, 0, 0, 255, 255, 255, 255]) }),
        end,
      ]),
    }),
  ],
  [
    'a huge extended header',
    'IMAGES_LAYER_TOO_LARGE',
    () => ({ tar: Buffer.concat([rawHeader({ name: 'p', type: 'x', size: '77777777777\0' }), end]) }),
  ],
];
for (const [what, code, make] of broken) {
  test(`${what} is refused: ${code}`, async () => {
    const { tar, blob } = make(await tarOf([{ name: 'file', body: 'x'.repeat(2000) }]));
    await assert.rejects(unpack(tar, blob === undefined ? {} : { blob }), codeIs(code));
  });
}

test('content of another diff id is refused', async () => {
  await assert.rejects(
    unpack(await tarOf([{ name: 'a', body: 'x' }]), { diffId: sha256(Buffer.from('other')) }),
    codeIs('IMAGES_DIFF_ID_MISMATCH'),
  );
});

test('decompression bombs are refused by ratio, by bytes and by count', async () => {
  const zeros = await tarOf([{ name: 'zeros', body: Buffer.alloc(4 * 1024 * 1024) }]);
  await assert.rejects(
    unpack(zeros, { blob: gzipSync(zeros), limits: { ratioFloorBytes: 1024, maxRatio: 10 } }),
    codeIs('IMAGES_LAYER_TOO_LARGE'),
  );
  await assert.rejects(
    unpack(zeros, { limits: { maxLayerBytes: 1024 * 1024 } }),
    codeIs('IMAGES_LAYER_TOO_LARGE'),
  );
  const many = await tarOf(Array.from({ length: 20 }, (_, index) => ({ name: `f${index}` })));
  await assert.rejects(unpack(many, { limits: { maxEntries: 19 } }), codeIs('IMAGES_LAYER_TOO_LARGE'));
});

const hostile: readonly (readonly [string, string, readonly Entry[]])[] = [
  ['a name that begins with ".."', 'IMAGES_LAYER_BAD_NAME', [{ name: '../outside/kept', body: 'gone' }]],
  [
    'a name with ".." in the middle',
    'IMAGES_LAYER_BAD_NAME',
    [{ name: 'a/../../outside/kept', body: 'gone' }],
  ],
  ['a whiteout of ".."', 'IMAGES_LAYER_BAD_NAME', [{ name: 'a/.wh...' }]],
  ['a whiteout without a name', 'IMAGES_LAYER_BAD_NAME', [{ name: '.wh.' }]],
  ['a file below a file', 'IMAGES_LAYER_BAD_NAME', [{ name: 'a' }, { name: 'a/b' }]],
  [
    'symlinks in a loop',
    'IMAGES_LAYER_BAD_NAME',
    [
      { name: 'a', type: 'symlink', linkname: 'b' },
      { name: 'b', type: 'symlink', linkname: 'a' },
      { name: 'a/f' },
    ],
  ],
  [
    'a hard link with ".."',
    'IMAGES_LAYER_BAD_NAME',
    [{ name: 'l', type: 'link', linkname: '../outside/kept' }],
  ],
  [
    'a hard link to itself',
    'IMAGES_LAYER_BAD_LINK',
    [{ name: 'l' }, { name: 'l', type: 'link', linkname: 'l' }],
  ],
  [
    'a hard link to a missing file',
    'IMAGES_LAYER_BAD_LINK',
    [{ name: 'l', type: 'link', linkname: 'missing' }],
  ],
  [
    'a hard link to a folder',
    'IMAGES_LAYER_BAD_LINK',
    [
      { name: 'd', type: 'directory' },
      { name: 'l', type: 'link', linkname: 'd' },
    ],
  ],
  [
    'a device that overlayfs would read as a whiteout',
    'IMAGES_LAYER_UNSUPPORTED',
    [{ name: 'w', type: 'character-device', devmajor: 0, devminor: 0 }],
  ],
];
for (const [what, code, entries] of hostile) {
  test(`${what} is refused: ${code}`, async () => {
    await assert.rejects(unpackEntries(entries), codeIs(code));
  });
}

test('symlinks that point outside are resolved inside the layer', async () => {
  const outside = `${folder}/outside`;
  const { fs } = await unpackEntries([
    { name: 'abs', type: 'symlink', linkname: outside },
    { name: 'abs/new', body: '1' },
    { name: 'up', type: 'symlink', linkname: '../../../../../../..' },
    { name: 'up/etc/shadow', body: '2' },
    { name: 'hard', type: 'link', linkname: 'abs/new' },
  ]);
  assert.equal(readFileSync(`${fs}${outside}/new`, 'utf8'), '1');
  assert.equal(readFileSync(`${fs}/etc/shadow`, 'utf8'), '2');
  assert.equal(readFileSync(`${fs}/hard`, 'utf8'), '1');
  assert.equal(readlinkSync(`${fs}/abs`), outside);
});

test('a hard link to a symlink links the symlink', async () => {
  const { fs } = await unpackEntries([
    { name: 's', type: 'symlink', linkname: '/etc/passwd' },
    { name: 'l', type: 'link', linkname: 's' },
  ]);
  assert.equal(readlinkSync(`${fs}/l`), '/etc/passwd');
});

test('the last of several entries of one name wins, whatever their types', async () => {
  const { fs } = await unpackEntries([
    { name: 'a', body: 'file' },
    { name: 'a', type: 'directory' },
    { name: 'a/below', body: 'x' },
    { name: 'b', type: 'directory' },
    { name: 'b/below', body: 'x' },
    { name: 'b', type: 'symlink', linkname: 'a' },
    { name: 'b/through', body: 'y' },
    { name: 'c', type: 'symlink', linkname: '/etc/hostname' },
    { name: 'c', body: 'plain' },
    { name: 'd', body: 'first' },
    { name: 'e', type: 'link', linkname: 'd' },
    { name: 'd', body: 'second' },
  ]);
  assert.deepEqual(readdirSync(`${fs}/a`).sort(), ['below', 'through']);
  assert.ok(lstatSync(`${fs}/b`).isSymbolicLink());
  assert.ok(lstatSync(`${fs}/c`).isFile());
  assert.equal(readFileSync(`${fs}/d`, 'utf8'), 'second');
  assert.equal(readFileSync(`${fs}/e`, 'utf8'), 'first');
});

test('devices and base-256 owners', async () => {
  const { fs } = await unpackEntries([
    { name: 'null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 },
    { name: 'disk', type: 'block-device', devmajor: 259, devminor: 300, mode: 0o660 },
  ]);
  assert.ok(statSync(`${fs}/null`).isCharacterDevice());
  assert.equal(execFileSync('stat', ['-c', '%t:%T %a', `${fs}/null`], { encoding: 'utf8' }), '1:3 666\n');
  assert.equal(execFileSync('stat', ['-c', '%t:%T %a', `${fs}/disk`], { encoding: 'utf8' }), '103:12c 660\n');
  const owned = await unpack(
    Buffer.concat([
      rawHeader({ name: 'u', type: '0', uid: Buffer.from([0x80, 0, 0, 0, 0, 0x2d, 0xc6, 0xc0]) }),
      end,
    ]),
  );
  assert.equal(statSync(`${owned.fs}/u`).uid, 3_000_000);
});

test('names that are not UTF-8 are kept, whiteouts and folders among them', async () => {
  const { fs } = await unpack(
    Buffer.concat([
      rawHeader({ name: 'd\u00e9', type: '5' }),
      rawHeader({ name: 'd\u00e9/.wh..wh..opq', type: '0' }),
      rawHeader({ name: 'd\u00e9/f\u00ff', type: '0' }),
      rawHeader({ name: '.wh.w\u00fe', type: '0' }),
      end,
    ]),
  );
  const names = readdirSync(fs, { encoding: 'latin1' });
  assert.deepEqual(names.sort(), ['d\u00e9', 'w\u00fe']);
  assert.ok(lstatSync(Buffer.from(`${fs}/w\u00fe`, 'latin1')).isCharacterDevice());
});

async function merged<T>(layers: readonly string[], body: (root: string) => T): Promise<T> {
  for (const name of ['upper', 'work', 'merged']) mkdirSync(`${folder}/m/${name}`, { recursive: true });
  mountOverlay({
    lower: [...layers].reverse(),
    upper: `${folder}/m/upper`,
    work: `${folder}/m/work`,
    target: `${folder}/m/merged`,
  });
  try {
    return body(`${folder}/m/merged`);
  } finally {
    umount(`${folder}/m/merged`);
    rmSync(`${folder}/m`, { recursive: true });
  }
}

test('whiteouts and opaque folders hide the layers below, and never their own layer, in either order', async () => {
  const base = await unpackEntries([
    ...['gone', 'kept', 'both'].map((name): Entry => ({ name, body: 'base' })),
    ...['opaque', 'again', 'before', 'deep/down'].map((name): Entry => ({
      name: `${name}/old`,
      body: 'base',
    })),
  ]);
  const top = await unpackEntries(
    [
      { name: '.wh.gone' },
      { name: 'both', body: 'top' },
      { name: '.wh.both' },
      { name: 'opaque/new', body: 'top' },
      { name: 'opaque/.wh..wh..opq' },
      { name: '.wh.again' },
      { name: 'again', type: 'directory' },
      { name: 'again/new', body: 'top' },
      { name: 'before/.wh..wh..opq' },
      { name: 'before/new', body: 'top' },
      { name: 'deep/.wh.down' },
      { name: '.wh..wh.plnk', type: 'directory' },
    ],
    [base.fs],
  );
  await merged([base.fs, top.fs], (root) => {
    assert.deepEqual(readdirSync(root).sort(), ['again', 'before', 'both', 'deep', 'kept', 'opaque']);
    assert.equal(readFileSync(`${root}/both`, 'utf8'), 'top');
    for (const name of ['again', 'before', 'opaque'])
      assert.deepEqual(readdirSync(`${root}/${name}`), ['new']);
    assert.deepEqual(readdirSync(`${root}/deep`), []);
  });
});

test('a whiteout in or below an opaque folder is not listed as a name without a file', async () => {
  const base = await unpackEntries(
    ['first', 'last', 'again'].flatMap((name): Entry[] => [
      { name: `${name}/old`, body: 'base' },
      { name: `${name}/sub/old`, body: 'base' },
    ]),
  );
  const top = await unpackEntries(
    [
      { name: 'first/.wh..wh..opq' },
      ...['first', 'last'].flatMap((name): Entry[] => [
        { name: `${name}/.wh.old` },
        { name: `${name}/sub/.wh.old` },
        { name: `${name}/sub/new`, body: 'top' },
      ]),
      { name: 'last/.wh..wh..opq' },
      { name: '.wh.again' },
      { name: 'again/sub/.wh.old' },
    ],
    [base.fs],
  );
  await merged([base.fs, top.fs], (root) => {
    for (const name of ['first', 'last']) {
      assert.deepEqual(readdirSync(`${root}/${name}`), ['sub']);
      assert.deepEqual(readdirSync(`${root}/${name}/sub`), ['new']);
    }
    assert.deepEqual(readdirSync(`${root}/again/sub`), []);
  });
});

test('a whiteout beside an opaque mark of the root still hides its name: overlayfs merges every root', async () => {
  const base = await unpackEntries([
    { name: 'gone', body: 'base' },
    { name: 'sub/gone', body: 'base' },
  ]);
  const top = await unpackEntries(
    [{ name: '.wh..wh..opq' }, { name: '.wh.gone' }, { name: 'sub/.wh.gone' }, { name: 'new', body: 'top' }],
    [base.fs],
  );
  await merged([base.fs, top.fs], (root) => {
    assert.deepEqual(readdirSync(root).sort(), ['new', 'sub']);
    assert.deepEqual(readdirSync(`${root}/sub`), []);
  });
});

test('folders that the archive does not list have the attributes of the folders below', async () => {
  const base = await unpackEntries([
    { name: 'tmp', type: 'directory', mode: 0o1777 },
    { name: 'home/user', type: 'directory', mode: 0o750, uid: 1000, gid: 1001 },
  ]);
  const top = await unpackEntries([{ name: 'tmp/x' }, { name: 'home/user/.profile' }], [base.fs]);
  assert.equal(top.dependent, true);
  await merged([base.fs, top.fs], (root) => {
    assert.equal(statSync(`${root}/tmp`).mode & 0o7777, 0o1777);
    const home = statSync(`${root}/home/user`);
    assert.deepEqual([home.mode & 0o7777, home.uid, home.gid], [0o750, 1000, 1001]);
  });
});

test('hard links to files below are copied up through whiteouts, symlinks and opaque folders', async () => {
  const base = await unpackEntries([
    { name: 'usr/bin/tool', body: 'tool', mode: 0o4755, uid: 7 },
    { name: 'bin', type: 'symlink', linkname: 'usr/bin' },
    { name: 'hidden/file', body: 'old' },
  ]);
  const middle = await unpackEntries([{ name: 'hidden/.wh.file' }], [base.fs]);
  const top = await unpackEntries(
    [
      { name: 'one', type: 'link', linkname: 'bin/tool' },
      { name: 'two', type: 'link', linkname: 'bin/tool' },
    ],
    [middle.fs, base.fs],
  );
  const one = statSync(`${top.fs}/one`);
  assert.equal(readFileSync(`${top.fs}/one`, 'utf8'), 'tool');
  assert.deepEqual([one.mode & 0o7777, one.uid, one.nlink], [0o4755, 7, 2]);
  await assert.rejects(
    unpackEntries([{ name: 'l', type: 'link', linkname: 'hidden/file' }], [middle.fs, base.fs]),
    codeIs('IMAGES_LAYER_BAD_LINK'),
  );
  await assert.rejects(
    unpackEntries([{ name: 'l', type: 'link', linkname: 'usr/bin' }], [middle.fs, base.fs]),
    codeIs('IMAGES_LAYER_BAD_LINK'),
  );
});

test('entries whose folder is a symlink below are moved to the target of the symlink, inside the root', async () => {
  const outside = `${folder}/outside`;
  const base = await unpackEntries([
    { name: 'usr/bin/old', body: 'o' },
    { name: 'bin', type: 'symlink', linkname: 'usr/bin' },
    { name: 'escape', type: 'symlink', linkname: outside },
    { name: 'loop', type: 'symlink', linkname: 'loop' },
  ]);
  const top = await unpackEntries(
    [
      { name: 'bin/new', body: 'n' },
      { name: 'bin/sub/deep', body: 'd' },
      { name: 'escape/in', body: 'i' },
    ],
    [base.fs],
  );
  await merged([base.fs, top.fs], (root) => {
    assert.ok(lstatSync(`${root}/bin`).isSymbolicLink());
    assert.deepEqual(readdirSync(`${root}/usr/bin`).sort(), ['new', 'old', 'sub']);
    assert.equal(readFileSync(`${root}${outside}/in`, 'utf8'), 'i');
  });
  await assert.rejects(unpackEntries([{ name: 'loop/x' }], [base.fs]), codeIs('IMAGES_LAYER_BAD_NAME'));
  await assert.rejects(
    unpackEntries([{ name: 'bin/x' }, { name: 'usr/bin/x' }], [base.fs]),
    codeIs('IMAGES_LAYER_BAD_NAME'),
  );
});

test('a layer that lists its folders does not depend on the layers below', async () => {
  const base = await unpackEntries([{ name: 'a/b' }]);
  const top = await unpackEntries([{ name: 'a', type: 'directory' }, { name: 'a/c' }], [base.fs]);
  assert.equal(top.dependent, false);
});

test('damage is found: wrong content, size, mode or type, and a missing file', async () => {
  const { fs } = await unpackEntries(['a', 'b', 'c', 'd', 'e'].map((name) => ({ name, body: 'content' })));
  const manifest = readFileSync(`${fs}/../files.ndjson`, 'utf8');
  writeFileSync(`${fs}/a`, 'CONTENT');
  writeFileSync(`${fs}/b`, '');
  chmodSync(`${fs}/c`, 0o755);
  rmSync(`${fs}/d`);
  rmSync(`${fs}/e`);
  symlinkSync('a', `${fs}/e`);
  assert.deepEqual(verifyFiles(fs, manifest).sort(), ['a', 'b', 'c', 'd', 'e']);
});

const partName = fc.constantFrom('a', 'b', 'c', '.', '', '..', '.wh.a', '.wh..wh..opq');
const anyPath = fc.array(partName, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const anyTarget = fc.oneof(anyPath, fc.constantFrom('/', '..', '../../outside', '/a/b', '/../outside/kept'));
const anyEntry = fc.record({
  name: anyPath,
  type: fc.constantFrom('file', 'directory', 'symlink', 'link', 'fifo'),
  linkname: anyTarget,
});

test('no archive can change anything outside its layer', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyEntry, { maxLength: 12 }),
      fc.array(anyEntry, { maxLength: 12 }),
      async (lower, upper) => {
        const base = await unpackEntries(lower.map(plain)).catch(refused);
        await unpackEntries(upper.map(plain), base === undefined ? [] : [base.fs]).catch(refused);
        assert.deepEqual(readdirSync(`${folder}/outside`), ['kept']);
        assert.equal(statSync(`${folder}/outside/kept`).nlink, 1);
      },
    ),
    { numRuns: 150 },
  );
});

function plain({
  name,
  type,
  linkname,
}: {
  name: string;
  type: NonNullable<Entry['type']>;
  linkname: string;
}): Entry {
  if (type === 'symlink' || type === 'link')
    return { name, type, linkname: linkname === '' ? 'a' : linkname };
  return { name, type, ...(type === 'file' ? { body: 'x' } : {}) };
}

function refused(thrown: unknown): undefined {
  assert.ok(isPortcullisError(thrown), String(thrown));
  assert.match(thrown.code, /^IMAGES_LAYER_(BAD|UNSUPPORTED)/, thrown.message);
  return undefined;
}

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { mkfifo } from '../../../base/kernel/index.ts';
import { rawTar } from '../unpack/tar.fixture.ts';
import { codeIs, range } from '../unpack/unpack.fixture.ts';
import { checkArchive, openLayerFile } from './check-layer.ts';
import { structureFault } from './check-structure.ts';
import type { EncodedLayer, LayerFileRecord } from './encode-layer.ts';
import { encode } from './erofs.fixture.ts';
import { decodeHead, encodeHead, headBytes } from './format.ts';
import type { Regions } from './format.ts';

const tar = rawTar([
  { name: 'd/', type: '5' },
  { name: 'd/file', body: 'content', pax: { 'SCHILY.xattr.user.a': 'value' } },
  { name: 'd/link', type: '1', link: 'd/file' },
  { name: 'd/sub/', type: '5' },
  { name: 'short', type: '2', link: 'd/file' },
  { name: 'long', type: '2', link: 'x'.repeat(600) },
  { name: '.wh.gone' },
  { name: 'opaque/.wh..wh..opq' },
  { name: 'like', pax: { 'SCHILY.xattr.user.overlay-opaq': 'y' } },
  ...range(60, (index) => ({ name: `names/of-some-length-${index}` })),
]);

let folder = '';
let layer: EncodedLayer;
before(async () => {
  folder = mkdtempSync('/dev/shm/portcullis-erofs-check-');
  layer = await encode(`${folder}/layer`, tar);
});
after(() => {
  rmSync(folder, { recursive: true });
});
const path = (): string => `${folder}/tried`;
beforeEach(() => {
  rmSync(path(), { force: true });
});

function refused(why: RegExp, record: LayerFileRecord = layer): void {
  assert.throws(
    () => closeSync(openLayerFile(path(), record)),
    (thrown) => {
      codeIs('IMAGES_STORE_FAILED')(thrown);
      assert.match(String(thrown), why);
      return true;
    },
  );
}

// The runner reports between turns of the event loop, and a run that ends may lose results that are not
// reported yet.
afterEach(() => setImmediate());

describe('openLayerFile', () => {
  it('opens a layer file that is unchanged', () => {
    const fd = openLayerFile(`${folder}/layer`, layer);
    checkArchive(fd, 'layer', layer);
    closeSync(fd);
  });
});

describe('openLayerFile and checkArchive refuse', () => {
  it('a file of another layer', async () => {
    const other = await encode(path(), rawTar([{ name: 'other', body: 'x' }]));
    refused(/bytes|another layer/);
    refused(/another layer/, { ...layer, bytes: other.bytes });
    refused(/another layer/, { ...other, diffId: layer.diffId });
  });

  it('a FIFO, a symlink, a folder, and a missing file', () => {
    refused(/no such file/i);
    mkfifo(path(), 0o600);
    refused(/not a regular file/);
    rmSync(path());
    symlinkSync(`${folder}/layer`, path());
    refused(/ELOOP/);
    assert.throws(() => openLayerFile('/dev/shm', layer), codeIs('IMAGES_STORE_FAILED'));
  });

  it('a longer and a shorter file', () => {
    copyFileSync(`${folder}/layer`, path());
    truncateSync(path(), layer.bytes + 4096);
    refused(/bytes/);
    truncateSync(path(), layer.bytes - 4096);
    refused(/bytes/);
    truncateSync(path(), 10);
    refused(/ends early/, { ...layer, bytes: 10 });
  });

  it('a file with a changed byte outside the archive', () => {
    const whole = readFileSync(`${folder}/layer`);
    const { archiveBytes } = regionsOf(whole);
    const anyPlace = fc.integer({ min: 0, max: whole.length - archiveBytes - 1 });
    fc.assert(
      fc.property(anyPlace, fc.integer({ min: 1, max: 255 }), (place, change) => {
        const at = place < headBytes ? place : place + archiveBytes;
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ change;
        writeFileSync(path(), changed);
        refused(/digest|head|another layer|bytes/);
      }),
      {
        numRuns: 300,
        examples: [
          [0, 1],
          [1024, 1],
          [1036, 3],
          [layer.bytes - archiveBytes - 1, 1],
        ],
      },
    );
  });

  it('an undamaged layer file with another archive, when the archive is checked', async () => {
    const other = await encode(`${folder}/other-archive`, rawTar([{ name: 'other', body: 'content' }]));
    const fd = openLayerFile(`${folder}/other-archive`, other);
    checkArchive(fd, path(), other);
    assert.throws(() => checkArchive(fd, path(), layer), codeIs('IMAGES_STORE_FAILED'));
    closeSync(fd);
  });

  it('an archive with a changed byte, when the archive is checked', () => {
    const changed = readFileSync(`${folder}/layer`);
    changed[headBytes + 700] = 1;
    writeFileSync(path(), changed);
    const fd = openLayerFile(path(), layer);
    assert.throws(() => checkArchive(fd, path(), layer), codeIs('IMAGES_STORE_FAILED'));
    closeSync(fd);
  });
});

function regionsOf(whole: Buffer): Regions {
  const regions = decodeHead(whole.subarray(0, headBytes));
  assert.ok(regions !== undefined);
  return regions;
}

/** The place of an inode in the metadata, by the name of its file in a folder. */
function slotOf(metadata: Buffer, regions: Regions, name: string): number {
  const at = metadata.indexOf(name, regions.blocksAt - regions.metadataAt, 'latin1');
  const block = at - (at % 512);
  const count = metadata.readUInt16LE(block + 8) / 12;
  const index = range(count, (each) => metadata.readUInt16LE(block + 12 * each + 8)).indexOf(at - block);
  return Number(metadata.readBigUInt64LE(block + 12 * index));
}

/** Place of the dirent of a name in the metadata. */
function direntOf(metadata: Buffer, regions: Regions, name: string): number {
  const at = metadata.indexOf(name, regions.blocksAt - regions.metadataAt, 'latin1');
  const block = at - (at % 512);
  const count = metadata.readUInt16LE(block + 8) / 12;
  return (
    block + 12 * range(count, (each) => metadata.readUInt16LE(block + 12 * each + 8)).indexOf(at - block)
  );
}

type Change = (metadata: Buffer, regions: Regions) => Partial<Regions> | undefined;
const inInode =
  (name: string, field: number, bytes: number, value: number): Change =>
  (metadata, regions) => {
    metadata.writeUIntLE(value, slotOf(metadata, regions, name) * 32 + field, bytes);
    return undefined;
  };
const inDirent =
  (name: string, field: number, bytes: number, value: number): Change =>
  (metadata, regions) => {
    metadata.writeUIntLE(value, direntOf(metadata, regions, name) + field, bytes);
    return undefined;
  };

/** Changes by an attacker who can also change the recorded digest. */
const forged: Readonly<Record<string, readonly [RegExp, Change]>> = {
  'a file in the head': [/outside the archive/, inInode('file', 16, 4, 2)],
  'a file beyond the end of the file': [/outside the archive/, inInode('file', 16, 4, 0x7fff_ffff)],
  'a file in the metadata': [
    /outside the archive/,
    (metadata, regions) => inInode('file', 16, 4, regions.metadataAt / 512)(metadata, regions),
  ],
  'a file longer than the archive': [/outside the archive/, inInode('file', 8, 6, 1e9)],
  'a size that is too large for a number': [/type or size/, inInode('file', 14, 2, 0xffff)],
  'a compressed file': [/layout/, inInode('file', 0, 2, 1 | (3 << 1))],
  'a file of chunks': [/layout/, inInode('file', 0, 2, 1 | (4 << 1))],
  'a compact inode': [/layout/, inInode('file', 0, 2, 0)],
  'a socket': [/type/, inInode('file', 4, 2, 0o140644)],
  'a reserved field': [/reserved/, inInode('file', 6, 2, 1)],
  'an invalid time': [/time/, inInode('file', 40, 4, 1_000_000_000)],
  'one link too many': [/links/, inInode('file', 44, 4, 3)],
  'a folder with one link too few': [/links/, inInode('names', 44, 4, 1)],
  'attributes beyond their region': [/attributes/, inInode('file', 2, 2, 0xffff)],
  'attributes of a symlink': [/attributes/, inInode('short', 2, 2, 3)],
  'shared attributes': [
    /shared/,
    (metadata, regions) => {
      metadata.writeUInt8(1, slotOf(metadata, regions, 'file') * 32 + 64 + 4);
      return undefined;
    },
  ],
  'an attribute with another prefix': [
    /known name/,
    (metadata, regions) => {
      metadata.writeUInt8(0x81, slotOf(metadata, regions, 'file') * 32 + 64 + 12 + 1);
      return undefined;
    },
  ],
  'an attribute of overlayfs': [
    /known name/,
    (metadata, regions) => {
      metadata.writeUInt8(4, slotOf(metadata, regions, 'file') * 32 + 64 + 12 + 1);
      return undefined;
    },
  ],
  'a file with the mark of an opaque folder': [
    /known name/,
    (metadata, regions) => {
      const from = slotOf(metadata, regions, 'opaque') * 32;
      metadata.copy(metadata, slotOf(metadata, regions, 'like') * 32 + 64, from + 64, from + 64 + 36);
      return undefined;
    },
  ],
  'an attribute that is cut off': [
    /cut off/,
    (metadata, regions) => {
      metadata.writeUInt16LE(5000, slotOf(metadata, regions, 'file') * 32 + 64 + 12 + 2);
      return undefined;
    },
  ],
  'a symlink of length zero': [/inline data/, inInode('short', 8, 4, 0)],
  'a symlink that crosses a block': [/inline data/, inInode('short', 8, 4, 600)],
  'a symlink outside its region': [/symlink is outside/, inInode('long', 16, 4, 8)],
  'a symlink of 4,096 bytes': [/symlink is outside/, inInode('long', 8, 4, 4096)],
  'a device with a size': [/device/, inInode('gone', 8, 4, 1)],
  'a folder outside its region': [/folder is outside/, inInode('names', 16, 4, 8)],
  'a folder of length zero': [/folder is outside/, inInode('sub', 8, 4, 0)],
  'a cycle': [/two names/, (metadata, regions) => inDirent('sub', 0, 6, regions.rootSlot)(metadata, regions)],
  'an inode outside its region': [/outside its region/, inDirent('file', 0, 6, 1e6)],
  'an inode number of 64 bits': [/inode number/, inDirent('file', 6, 2, 1)],
  'inode 0': [/outside its region/, inDirent('sub', 0, 6, 0)],
  'an inode in the middle of another': [
    /layout|overlap|type|reserved/,
    (metadata, regions) => inDirent('file', 0, 6, slotOf(metadata, regions, 'file') + 1)(metadata, regions),
  ],
  'a name of another type': [/another type/, inDirent('file', 10, 1, 7)],
  'a name beyond its block': [/directory block/, inDirent('file', 8, 2, 511)],
  'names that are not sorted': [
    /sorted/,
    (metadata, regions) => {
      metadata.write('zile', metadata.indexOf('file', regions.blocksAt - regions.metadataAt), 'latin1');
      return undefined;
    },
  ],
  'a name with a slash': [
    /slash/,
    (metadata, regions) => {
      metadata.write('fi/e', metadata.indexOf('file', regions.blocksAt - regions.metadataAt), 'latin1');
      return undefined;
    },
  ],
  'another parent': [
    /"\."/,
    (metadata, regions) => {
      const at = metadata.readUInt32LE(slotOf(metadata, regions, 'sub') * 32 + 16) * 512 - regions.metadataAt;
      metadata.writeUIntLE(regions.rootSlot, at + 12, 6);
      return undefined;
    },
  ],
  'bytes after the last name of a block': [
    /filled with zeros/,
    (metadata, regions) => {
      metadata.write('x', metadata.indexOf('sub', regions.blocksAt - regions.metadataAt) + 3, 'latin1');
      return undefined;
    },
  ],
  'bytes between inodes': [
    /between inodes/,
    (metadata) => {
      metadata.writeUInt8(1, 0);
      return undefined;
    },
  ],
  'a wrong number of inodes': [/number of inodes/, (_, regions) => ({ inodes: regions.inodes - 1 })],
};

describe('metadata that the encoder cannot have written is found', () => {
  for (const [what, [fault, change]] of Object.entries(forged)) {
    it(what, () => {
      const whole = readFileSync(`${folder}/layer`);
      const regions = regionsOf(whole);
      const metadata = whole.subarray(regions.metadataAt);
      const changed = { ...regions, ...change(metadata, regions) };
      assert.match(structureFault(changed, metadata) ?? 'no fault', fault);
      // The same with the record that an attacker would write.
      encodeHead(changed).copy(whole);
      writeFileSync(path(), whole);
      const digest = createHash('sha256')
        .update(whole.subarray(headBytes + regions.archiveBytes))
        .update(whole.subarray(0, headBytes));
      refused(fault, { ...layer, metadataSha256: digest.digest('hex') });
    });
  }

  it('and no change of bytes makes the check throw', () => {
    const whole = readFileSync(`${folder}/layer`);
    const regions = regionsOf(whole);
    const metadata = whole.subarray(regions.metadataAt);
    assert.equal(structureFault(regions, metadata), undefined);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(metadata.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const changed = Buffer.from(metadata);
          for (const [at, value] of changes) changed[at] = value;
          const fault = structureFault(regions, changed);
          assert.ok(fault === undefined || /inode \d+/.test(fault));
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('the head', () => {
  it('is read back as it was written', () => {
    const regions = regionsOf(readFileSync(`${folder}/layer`));
    assert.deepEqual(decodeHead(encodeHead(regions)), regions);
  });

  it('is invalid if regions overlap, do not begin at pages, or are too large for block addresses', () => {
    const regions = regionsOf(readFileSync(`${folder}/layer`));
    for (const changed of [
      { archiveBytes: regions.archiveBytes + 4096 },
      { copiesAt: regions.copiesAt - 4096 },
      { metadataAt: regions.metadataAt - 4096 },
      { metadataAt: regions.metadataAt + 512 },
      { blocksAt: regions.blocksAt + 1 },
      { fileBytes: regions.blocksAt - (regions.blocksAt % 4096) },
      { inodes: 0 },
      { inodes: 1e6 },
    ])
      assert.equal(decodeHead(encodeHead({ ...regions, ...changed })), undefined, JSON.stringify(changed));
  });
});

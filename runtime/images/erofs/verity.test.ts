import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  cpSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
} from 'node:fs';
import { readSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { enableVerity, verityDigest } from '../../../base/kernel/index.ts';
import { openCutDisk } from '../../../test/power-cuts/cut.ts';
import type { CutDisk } from '../../../test/power-cuts/cut.ts';
import { defaultLimits } from '../limits/limits.ts';
import { sha256 } from '../test-kit.ts';
import { rawTar } from '../unpack/tar.fixture.ts';
import { codeIs, range } from '../unpack/unpack.fixture.ts';
import { createJobCell, createWorkClock } from '../unpack/work-clock.ts';
import { layerFileName } from './layer-folder.ts';
import { protectFile } from './protect-file.ts';
import { checkStoredLayer, storeLayer, verifyStoredLayer } from './stored-layer.ts';
import type { StoredLayerRecord } from './stored-layer.ts';

const blockBytes = 4096;
/** The content of one file of the layer. */
const marker = 'the content of a file that the disk will change';
const tar = rawTar([
  { name: 'marked', body: marker },
  ...range(200, (index) => ({ name: `d/f${index}`, body: Buffer.alloc(index * 91, String(index)) })),
]);

interface Stored {
  readonly folder: string;
  readonly file: string;
  readonly record: StoredLayerRecord;
}

async function store(folder: string, archive: Buffer = tar): Promise<Stored> {
  writeFileSync(`${folder}.blob`, archive);
  const request = {
    blob: `${folder}.blob`,
    staging: folder,
    diffId: sha256(archive),
    lowest: true,
    limits: defaultLimits,
  };
  const clock = createWorkClock(createJobCell(), request.diffId);
  const layer = await storeLayer(request, () => Promise.resolve([]), clock, new AbortController().signal);
  rmSync(`${folder}.blob`);
  return { folder, file: `${folder}/${layerFileName}`, record: { ...layer, diffId: request.diffId } };
}

/** Checks a layer as the store does before a mount. */
function check(file: string, record: StoredLayerRecord): void {
  const fd = openSync(file, 'r');
  try {
    checkStoredLayer(fd, file, record);
  } finally {
    closeSync(fd);
  }
}

const refused = codeIs('IMAGES_STORE_FAILED');

describe('on a file system without fs-verity', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync('/dev/shm/portcullis-verity-');
  });
  after(() => rmSync(folder, { recursive: true }));

  it('a layer file has no digest of fs-verity, and is checked as before', async () => {
    const { folder: layer, file, record } = await store(`${folder}/plain`);
    assert.equal(record.verity, undefined);
    check(file, record);
    verifyStoredLayer(layer, record);
  });

  it('a file without fs-verity whose record says that it has fs-verity is refused, whatever it contains', async () => {
    const { folder: layer, file, record } = await store(`${folder}/copied`);
    const protectedRecord = { ...record, verity: '0'.repeat(64) };
    assert.throws(() => check(file, protectedRecord), refused);
    assert.throws(() => verifyStoredLayer(layer, protectedRecord), refused);
  });
});

/** Mounts an ext4 file system with fs-verity; undefined if this kernel has none. */
function openDisk(image: string, at: string): CutDisk | undefined {
  mkdirSync(at);
  const disk = openCutDisk(image, at, ['-O', 'verity']);
  writeFileSync(`${at}/probe`, 'probe');
  if (protectFile(`${at}/probe`) !== undefined) return disk;
  execFileSync('umount', [at]);
  return undefined;
}

const place = mkdtempSync('/var/tmp/portcullis-verity-');
const image = `${place}/image`;
const root = `${place}/disk`;
const disk = openDisk(image, root);
after(async () => {
  await disk?.close();
  rmSync(place, { recursive: true });
});

/** Changes one byte of a file on the disk, below its file system, and drops the caches of the kernel. */
async function flipOnDisk(file: string, at: number): Promise<void> {
  await disk?.whileUnmounted(() => {
    // debugfs(8) prints the disk block of a block of the file.
    const ask = `bmap ${file.slice(root.length)} ${Math.floor(at / blockBytes)}`;
    const block = Number(execFileSync('debugfs', ['-R', ask, image], { encoding: 'utf8', stdio: 'pipe' }));
    assert.ok(block > 0, 'the disk has the block');
    const fd = openSync(image, 'r+');
    const byte = Buffer.alloc(1);
    const place = block * blockBytes + (at % blockBytes);
    readSync(fd, byte, 0, 1, place);
    writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, place);
    fsyncSync(fd);
    closeSync(fd);
  });
}

describe(
  'on a file system with fs-verity',
  { skip: disk === undefined ? 'this kernel has no fs-verity' : false },
  () => {
    it('a layer file is protected, by the same digest for the same archive', async () => {
      const layers = [await store(`${root}/one`), await store(`${root}/two`)];
      for (const { folder, file, record } of layers) {
        assert.match(record.verity ?? '', /^[0-9a-f]{64}$/);
        assert.throws(() => openSync(file, 'r+'), { code: 'EPERM' });
        check(file, record);
        verifyStoredLayer(folder, record);
      }
      assert.equal(layers[0]?.record.verity, layers[1]?.record.verity);
      for (const { folder } of layers) rmSync(folder, { recursive: true });
    });

    it('a file that replaces it is refused before a mount: a copy, and another protected file', async () => {
      const { folder, file, record } = await store(`${root}/replaced`);
      copyFileSync(file, `${file}.copy`);
      renameSync(`${file}.copy`, file);
      assert.throws(() => check(file, record), refused);
      assert.throws(() => verifyStoredLayer(folder, record), refused);
      // The same bytes, protected again, are the same file.
      assert.equal(protectFile(file), record.verity);
      check(file, record);
      const other = await store(`${root}/other`, rawTar([{ name: 'other', body: 'other' }]));
      renameSync(other.file, file);
      assert.throws(() => check(file, { ...other.record, verity: record.verity ?? '' }), refused);
      assert.throws(() => check(file, record), refused);
      for (const each of [folder, other.folder]) rmSync(each, { recursive: true });
    });

    it('the kernel refuses to read a block with one flipped byte, and the check finds it', async () => {
      const { folder, file, record } = await store(`${root}/flipped`);
      const at = readFileSync(file).indexOf(marker);
      await flipOnDisk(file, at);
      const fd = openSync(file, 'r');
      try {
        assert.throws(() => readSync(fd, Buffer.alloc(16), 0, 16, at), { code: 'EIO' });
        assert.equal(readSync(fd, Buffer.alloc(16), 0, 16, 0), 16, 'other blocks can be read');
        assert.equal(verityDigest(fd), record.verity);
      } finally {
        closeSync(fd);
      }
      assert.throws(() => verifyStoredLayer(folder, record), refused);
      rmSync(folder, { recursive: true });
    });

    it('a flipped byte of metadata is refused before a mount', async () => {
      const { folder, file, record } = await store(`${root}/metadata`);
      // The last bytes of the file that are not zeros are names of a folder.
      await flipOnDisk(
        file,
        readFileSync(file).findLastIndex((byte) => byte !== 0),
      );
      assert.throws(() => check(file, record), refused);
      rmSync(folder, { recursive: true });
    });

    it('the file and its protection survive a power cut after the layer was stored', async () => {
      const { folder, file, record } = await store(`${root}/cut`);
      for (const each of [folder, root]) {
        const fd = openSync(each, 'r');
        fsyncSync(fd);
        closeSync(fd);
      }
      disk?.cut();
      await disk?.mountAgain();
      check(file, record);
      verifyStoredLayer(folder, record);
      rmSync(folder, { recursive: true });
    });

    it('a power cut while the protection is being enabled leaves a file that is refused or undamaged', async () => {
      const { file, record } = await store(`${root}/half`);
      const copy = `${root}/half-copy`;
      cpSync(file, copy);
      const fd = openSync(copy, 'r');
      fsyncSync(fd);
      assert.equal(enableVerity(fd), true);
      closeSync(fd);
      // The journal may contain the end of this operation or not.
      disk?.cut();
      await disk?.mountAgain();
      let outcome = 'whole';
      try {
        check(copy, record);
      } catch (thrown) {
        assert.ok(refused(thrown));
        outcome = 'refused';
      }
      if (outcome === 'whole') assert.deepEqual(readFileSync(copy), readFileSync(file));
      else assert.equal(protectFile(copy), record.verity, 'it can be protected again');
      rmSync(`${root}/half`, { recursive: true });
      rmSync(copy);
    });
  },
);

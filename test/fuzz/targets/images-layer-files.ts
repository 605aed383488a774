import { spawnSync } from 'node:child_process';
import { closeSync, lstatSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { openDetachedMount } from '../../../base/kernel/mounts/detached-mount.ts';
import { structureFault } from '../../../runtime/images/erofs/check-structure.ts';
import { openLayerFile } from '../../../runtime/images/erofs/check-layer.ts';
import { encode } from '../../../runtime/images/erofs/erofs.fixture.ts';
import { decodeHead, headBytes } from '../../../runtime/images/erofs/format.ts';
import type { Regions } from '../../../runtime/images/erofs/format.ts';
import { judged } from '../../../runtime/images/erofs/layers.fixture.ts';
import { mountWayOf } from '../../../runtime/images/erofs/mount-layer.ts';
import { blockSize } from '../../../runtime/images/unpack/tar-header.ts';
import { oldSparse, sparseByPax } from '../../../runtime/images/unpack/sparse.fixture.ts';
import { endOfArchive, rawTar } from '../../../runtime/images/unpack/tar.fixture.ts';
import { findTool } from '../../fixtures/tools.ts';
import type { FuzzTarget } from './target.ts';

/** fsck.erofs and the kernel judge one accepted file of this many: they take some milliseconds each. */
const judgedOneOf = 16;

const folder = mkdtempSync(join(tmpdir(), 'portcullis-fuzz-layer-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const mountsFiles = process.getuid?.() === 0 && mountWayOf('/var/tmp').kind === 'file';
let accepted = 0;

/**
 * Encodes an archive as a layer file, and reads the file back: the written file passes the check before a
 * mount, and is accepted by fsck.erofs and by the kernel if they are present.
 */
async function encodeAndCheck(bytes: Buffer): Promise<unknown> {
  const path = join(folder, 'layer');
  const layer = await encode(path, withChecksums(bytes));
  try {
    closeSync(openLayerFile(path, layer));
  } catch (thrown) {
    throw new TypeError(
      `the check refuses what the encoder wrote: ${isPortcullisError(thrown) ? thrown.message : String(thrown)}`,
    );
  }
  accepted += 1;
  if (accepted % judgedOneOf === 0) judge(path);
  return layer;
}

/** Corrects the checksums of headers, because a changed header would otherwise end the archive. */
function withChecksums(bytes: Buffer): Buffer {
  const made = Buffer.from(bytes);
  for (let at = 0; at + blockSize <= made.length; at += blockSize) {
    const block = made.subarray(at, at + blockSize);
    if (block.toString('latin1', 257, 262) !== 'ustar') continue;
    block.fill(' ', 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
  return made;
}

function judge(path: string): void {
  if (judged.skip === false) {
    const { status, stdout, stderr } = spawnSync(findTool('fsck.erofs').path, ['--extract', path], {
      encoding: 'latin1',
    });
    if (status !== 0) throw new TypeError(`fsck.erofs refuses what the encoder wrote: ${stdout}${stderr}`);
  }
  if (!mountsFiles) return;
  const mount = openDetachedMount('erofs', { path, by: 'file', direct: false });
  try {
    readTree(Buffer.from(`/proc/self/fd/${mount}/.`));
  } finally {
    closeSync(mount);
  }
}

/**
 * Looks up each name below a folder, and reads each file. Node's own recursive listing follows symbolic links
 * to folders, and a link to its own folder leads as deep as the kernel follows links.
 */
function readTree(folder: Buffer): void {
  for (const each of readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([folder, Buffer.from('/'), each.name]);
    if (each.isDirectory()) readTree(path);
    else if (each.isFile()) readFileSync(path);
    else lstatSync(path);
  }
}

/** A layer file, and its regions. */
async function sample(): Promise<{ readonly file: Buffer; readonly regions: Regions }> {
  const path = join(folder, 'sample');
  await encode(path, Buffer.concat([sparseArchive.subarray(0, -endOfArchive.length), archive]));
  const file = readFileSync(path);
  const regions = decodeHead(file.subarray(0, headBytes));
  if (regions === undefined) throw new Error('the encoder wrote no head');
  return { file, regions };
}
let known: ReturnType<typeof sample> | undefined;

/**
 * Checks foreign metadata behind the head of a layer file, as before a mount, without the digest that would
 * refuse it at once. The kernel and fsck.erofs accept every file that the check accepts.
 */
async function checkForeign(bytes: Buffer): Promise<unknown> {
  const { file, regions } = await (known ??= sample());
  const metadata = Buffer.alloc(regions.fileBytes - regions.metadataAt);
  bytes.copy(metadata);
  const fault = structureFault(regions, metadata);
  if (fault !== undefined || metadata.equals(file.subarray(regions.metadataAt))) return fault ?? 'sound';
  const path = join(folder, 'foreign');
  writeFileSync(path, Buffer.concat([file.subarray(0, regions.metadataAt), metadata]));
  judge(path);
  return 'sound';
}

const archive = rawTar([
  { name: 'usr/', type: '5', pax: { 'SCHILY.xattr.user.a': 'value' } },
  {
    name: 'usr/file',
    body: 'abc',
    pax: {
      mtime: '1700000000.123456789',
      'SCHILY.xattr.security.capability': `\u0001\0\0\u0002${'\0'.repeat(16)}`,
    },
  },
  { name: 'usr/link', type: '1', link: 'usr/file' },
  { name: 'short', type: '2', link: 'usr/file' },
  { name: 'long', type: '2', link: 'x'.repeat(600) },
  { name: 'usr/.wh.gone' },
  { name: 'usr/.wh..wh..opq' },
  { name: 'fifo', type: '6' },
]);

const sparse = {
  size: 30_000,
  pieces: [4096, 9000].map((offset) => ({ offset, data: Buffer.alloc(4100, 'x') })),
};

/** A sparse file in each form. */
export const sparseArchive = Buffer.concat([
  ...(['0.0', '0.1', '1.0'] as const).map((version) => sparseByPax(version, `pax-${version}`, sparse)),
  oldSparse('old', sparse),
  endOfArchive,
]);

const words = [
  '.wh.',
  '.wh..wh..opq',
  'ustar\0',
  'ustar  \0',
  'GNU.sparse.',
  'SCHILY.xattr.user.',
  'path=',
  'size=',
];
const fileLimits = { slowMs: 2500, memoryFactor: 60, why: 'it writes a file and reads it back' } as const;

export const layerFileTargets: readonly FuzzTarget[] = [
  {
    name: 'images-layer-file',
    group: 'images',
    words,
    seeds: () => [archive, sparseArchive, rawTar([])],
    read: encodeAndCheck,
    allows: fileLimits,
  },
  {
    name: 'images-layer-check',
    group: 'images',
    async seeds() {
      const { file, regions } = await (known ??= sample());
      return [file.subarray(regions.metadataAt)];
    },
    read: checkForeign,
    allows: fileLimits,
  },
];

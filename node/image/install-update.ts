import { createHash } from 'node:crypto';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PortcullisError, fileReason, isPortcullisError } from '../../base/errors/index.ts';
import { lockFolder, syncFolder } from '../../base/storage/index.ts';
import { bootPath, entriesFolder, entryFileName, entryText, otherSlot, triesOfUpdate } from './boot-entry.ts';
import type { Slot } from './boot-entry.ts';
import { bundleName, imageParts, manifestName, mostManifestBytes, readManifest } from './manifest.ts';
import type { ImagePart, NodeImageManifest } from './manifest.ts';
import { failedVersion, isConfirmed, removeEntries, startableVersion } from './slot-entries.ts';
import type { UpdateSource } from './update-source.ts';

/** Where the parts of a node image are on this machine. */
export interface ImagePlaces {
  /** The mounted EFI system partition. */
  readonly boot: string;
  /** Folder with the devices of the slots: `portcullis-a` and `portcullis-b`. */
  readonly devices: string;
  /** Folder of the lock that keeps two updates apart. */
  readonly lock: string;
}

/** The image that runs. */
export interface RunningImage {
  readonly slot: Slot;
  readonly name: string;
  readonly version: number;
}

export interface InstallInput {
  readonly source: UpdateSource;
  readonly places: ImagePlaces;
  readonly running: RunningImage;
  /** Whether a version is installed again although a boot of it was not confirmed. */
  readonly again: boolean;
  /** Returns why the signature of the manifest does not count; undefined: a trusted key signed it. */
  readonly verify: (manifest: Uint8Array, bundle: Uint8Array) => Promise<string | undefined>;
}

export type Installed =
  | { readonly installed: true; readonly slot: Slot; readonly version: number }
  | {
      readonly installed: false;
      readonly version: number;
      /**
       * `current`: the source has no newer version. `failed`: a boot of this version was not confirmed.
       * `newer`: a newer update was installed, and starts at the next boot. `unconfirmed`: the boot of the
       * running image is not confirmed, and the other slot has the image to return to.
       */
      readonly because: 'current' | 'failed' | 'newer' | 'unconfirmed';
    };

/**
 * Verifies an update, and writes it to the slot that does not run. The boot entry of that slot is removed
 * first and written last, so the boot loader never starts a slot that is written incompletely: after a
 * failure or a power cut, the running image starts again. The entry has one try. Only a boot that is
 * confirmed keeps the update.
 * @throws PortcullisError `NODE_IMAGE_REFUSED` if the signature or the name is wrong · `NODE_IMAGE_INVALID` ·
 * `NODE_IMAGE_DAMAGED` if a part is not what was signed · `NODE_IMAGE_UNREADABLE` · `NODE_IMAGE_NOT_WRITTEN`
 * · `STORAGE_IN_USE` during another update
 */
export async function installUpdate(input: InstallInput): Promise<Installed> {
  const { places, running, source, again } = input;
  const lock = await lockFolder(places.lock);
  try {
    const manifest = await verifiedManifest(input);
    const { version } = manifest;
    const slot = otherSlot(running.slot);
    if (version <= running.version) return { installed: false, version, because: 'current' };
    // A source that serves an earlier signed image must not take back an update that was installed.
    const startable = startableVersion(places.boot, slot);
    if (version < (startable ?? 0)) return { installed: false, version, because: 'newer' };
    // If the running image does not work, the next boot starts the other slot.
    if (startable !== undefined && !isConfirmed(places.boot, running.slot))
      return { installed: false, version, because: 'unconfirmed' };
    if (!again && failedVersion(places.boot, slot) === version)
      return { installed: false, version, because: 'failed' };
    await removeEntries(places.boot, slot);
    await write(source, manifest, 'root', join(places.devices, `portcullis-${slot}`));
    for (const part of ['kernel', 'initial'] as const) {
      const file = join(places.boot, bootPath(slot, part));
      mkdirSync(dirname(file), { recursive: true });
      await write(source, manifest, part, file);
    }
    // The entry must not be durable before the names of the files that it names.
    const files = join(places.boot, dirname(bootPath(slot, 'kernel')));
    for (const folder of [files, dirname(files), places.boot]) await syncFolder(folder);
    await writeEntry(places.boot, slot, manifest);
    return { installed: true, slot, version };
  } catch (thrown) {
    if (isPortcullisError(thrown)) throw thrown;
    throw failed('NODE_IMAGE_NOT_WRITTEN', source.name, fileReason(thrown, 'the disk'), 'check the disk');
  } finally {
    lock.release();
  }
}

async function verifiedManifest({ source, verify, running }: InstallInput): Promise<NodeImageManifest> {
  const bytes = await source.small(manifestName, mostManifestBytes);
  const why = await verify(bytes, await source.small(bundleName, mostManifestBytes));
  if (why !== undefined)
    throw failed('NODE_IMAGE_REFUSED', source.name, why, 'sign the image with a key that this node trusts');
  const manifest = readManifest(bytes, source.name);
  if (manifest.name === running.name) return manifest;
  throw failed(
    'NODE_IMAGE_REFUSED',
    source.name,
    `it is the image ${manifest.name}, and this node runs ${running.name}`,
    'name the source of this image',
  );
}

/** Writes a part to a device or a file, and compares what was written with the signed digest. */
async function write(
  source: UpdateSource,
  { parts }: NodeImageManifest,
  part: ImagePart,
  path: string,
): Promise<void> {
  const { bytes, sha256 } = parts[part];
  await using file = await open(path, part === 'root' ? 'r+' : 'w');
  if (part === 'root') await requireRoom(file, path, bytes);
  const digest = createHash('sha256');
  let size = 0;
  for await (const piece of source.pieces(imageParts[part], bytes)) {
    size += piece.length;
    if (size > bytes) break;
    digest.update(piece);
    await file.writeFile(piece);
  }
  await file.sync();
  if (size !== bytes || digest.digest('hex') !== sha256)
    throw failed(
      'NODE_IMAGE_DAMAGED',
      `${source.name} (${imageParts[part]})`,
      'its bytes are not those that were signed',
      'copy the image to the source again',
    );
}

async function requireRoom(device: FileHandle, path: string, bytes: number): Promise<void> {
  // The size of a block device: stat(2) reports 0. The last byte of the image must be readable.
  const { bytesRead } = await device.read(Buffer.alloc(1), 0, 1, bytes - 1);
  if (bytesRead === 1) return;
  throw failed(
    'NODE_IMAGE_NOT_WRITTEN',
    path,
    `the slot has less than ${bytes} bytes`,
    'install the new image on the disk: the sizes of slots do not change by an update',
  );
}

/** Writes the entry beside its name first: a power cut leaves no part of an entry. */
async function writeEntry(boot: string, slot: Slot, manifest: NodeImageManifest): Promise<void> {
  const folder = join(boot, entriesFolder);
  const partial = join(folder, `portcullis-${slot}.partial`);
  rmSync(partial, { force: true });
  const file = await open(partial, 'wx');
  try {
    await file.writeFile(entryText(slot, manifest));
    await file.sync();
  } finally {
    await file.close();
  }
  renameSync(partial, join(folder, entryFileName({ slot, triesLeft: triesOfUpdate })));
  await syncFolder(folder);
}

function failed(
  code: 'NODE_IMAGE_REFUSED' | 'NODE_IMAGE_DAMAGED' | 'NODE_IMAGE_NOT_WRITTEN',
  on: string,
  why: string,
  fix: string,
): PortcullisError {
  const kind =
    code === 'NODE_IMAGE_REFUSED' ? 'denied' : code === 'NODE_IMAGE_DAMAGED' ? 'data-loss' : 'internal';
  return new PortcullisError({ code, kind, attempted: 'update the node image from', on, why, fix });
}

import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Settings } from '../../../entitlements/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { isCopied, isReplaced, restorable } from '../images/restorable.ts';
import type { Restorable } from '../images/restorable.ts';
import { isRead } from '../images/read-rights.ts';
import { cgroupImage, idsImage, netnsImage, seccompImage } from '../images/write-image.ts';
import type { ArchiveFolder } from './archive-folder.ts';
import { devArchive, emptyArchive } from './dev-archive.ts';
import { badArchive, restoreRefused, unsupported } from './errors.ts';
import { linkOnTheWay, whyNotOpened } from './file-access.ts';

/** Bounds the time for which the main thread reads images, as for a report. */
const most = { read: 4 * 1024 * 1024, descriptors: 1_024, shown: 10 };
const descriptorsFile = 'descriptors.json';

/** The input of the decision whether a container with a specification can be restored. */
export interface AcceptInput {
  readonly archive: ArchiveFolder;
  /** Names the container in errors. */
  readonly on: string;
  readonly spec: OciSpec;
  readonly settings: Settings;
  /** An empty folder for the images that criu gets. */
  readonly folder: string;
  /** Path of the cgroup, below each hierarchy. */
  readonly cgroup: string;
}

/**
 * Compares the images of a checkpoint with a specification, and writes those that criu gets. Images that only
 * hold memory, registers and numbers are copied. All others are written here, from the specification.
 * @throws PortcullisError RUNTIME_RESTORE_RIGHTS, RUNTIME_RESTORE_UNSUPPORTED, RUNTIME_RESTORE_ARCHIVE
 */
export async function acceptImages(input: AcceptInput): Promise<void> {
  const { archive, on, spec, settings, folder } = input;
  const why = whyNotSupported(spec, settings);
  if (why !== undefined) throw unsupported(on, why);
  const images = await readImages(archive, on);
  const accepted = gate(images, archive, spec, on);
  const hidden = ['/dev', '/proc', '/sys'];
  const places = spec.mounts
    .map(({ destination }) => destination)
    .filter((place) => !hidden.some((top) => place.startsWith(`${top}/`)));
  const link = linkOnTheWay(spec.root.path, places);
  if (link !== undefined) throw unsupported(on, `the path ${link} of a mount leads through a link`);
  const closed = whyNotOpened(spec.root.path, accepted.files, spec.process);
  if (closed !== undefined) throw moreRights(on, [closed]);
  for (const name of archive.images.filter(isCopied))
    if (!/^ids-/.test(name)) await archive.copy(`checkpoint/${name}`, join(folder, name));
  for (const [name, bytes] of await ownImages(input, images, accepted))
    await writeFile(join(folder, name), bytes, { mode: 0o600, flag: 'wx' });
}

/** Returns a requirement of a specification that a restore does not meet. Pure. */
export function whyNotSupported(spec: OciSpec, settings: Pick<Settings, 'landlock'>): string | undefined {
  const { linux, process, mounts } = spec;
  const path = (type: string): string | undefined => linux.namespaces.find((one) => one.type === type)?.path;
  const has = (type: string): boolean => linux.namespaces.some((one) => one.type === type);
  const checks: readonly (readonly [boolean, string])[] = [
    [settings.landlock !== undefined, 'its profile needs rules of Landlock, which criu does not record'],
    [process.terminal, 'it has a terminal'],
    [spec.hooks !== undefined, 'it has hooks'],
    [linux.devices.length > 0, 'it has devices'],
    [linux.intelRdt !== undefined, 'it has a class of the memory bandwidth'],
    [linux.rootfsPropagation !== undefined, 'it shares mounts with the node'],
    [has('user'), 'its pod has a user namespace'],
    [has('time'), 'it has a time namespace'],
    [!has('pid') || path('pid') !== undefined, 'it has no PID namespace of its own'],
    [
      ['network', 'ipc', 'uts'].some((type) => path(type) === undefined),
      'its pod uses a namespace of the node',
    ],
    [
      mounts.some(({ uidMappings, gidMappings }) => uidMappings !== undefined || gidMappings !== undefined),
      'it has mapped mounts',
    ],
    [
      mounts.some(({ options }) => options.includes('rshared') || options.includes('rslave')),
      'it shares mounts with the node',
    ],
  ];
  return checks.find(([applies]) => applies)?.[1];
}

async function readImages(archive: ArchiveFolder, on: string): Promise<ReadonlyMap<string, Buffer>> {
  const images = new Map<string, Buffer>();
  let left = most.read;
  for (const name of archive.images.filter((each) => isRead(each) && (isCopied(each) || isReplaced(each)))) {
    const bytes = await archive.read(`checkpoint/${name}`, left);
    left -= bytes.length;
    images.set(name, bytes);
  }
  if (left < 0) throw badArchive(on, `its images are larger than ${most.read} bytes`);
  return images;
}

function gate(
  images: ReadonlyMap<string, Buffer>,
  archive: ArchiveFolder,
  spec: OciSpec,
  on: string,
): Restorable {
  let accepted: Restorable;
  try {
    accepted = restorable(
      {
        names: archive.images,
        read: (name) => {
          const image = images.get(name);
          if (image === undefined) throw new Error(`there is no image ${name}`);
          return image;
        },
      },
      spec,
    );
  } catch (cause) {
    throw badArchive(on, `its images cannot be read: ${reasonOf(cause)}`);
  }
  if (accepted.refused.length > 0)
    throw moreRights(
      on,
      accepted.refused.map(({ kind, what }) =>
        kind === 'unknown' ? `a restore does not support ${what}` : what,
      ),
    );
  return accepted;
}

/** Returns the images that are written in place of those in the archive. */
async function ownImages(
  { archive, on, spec, settings, cgroup }: AcceptInput,
  images: ReadonlyMap<string, Buffer>,
  accepted: Restorable,
): Promise<ReadonlyMap<string, string | Uint8Array>> {
  const written = new Map<string, string | Uint8Array>();
  const seccomp = images.get('seccomp.img');
  const filter = spec.linux.seccomp === undefined ? undefined : settings.seccomp?.bpf;
  if (seccomp !== undefined) written.set('seccomp.img', seccompImage(seccomp, filter));
  for (const [name, bytes] of images)
    if (/^ids-\d+\.img$/.test(name)) written.set(name, idsImage(bytes, accepted.ofNode));
  written.set(`netns-${accepted.network ?? 0}.img`, netnsImage());
  const hasNamespace = spec.linux.namespaces.some(({ type }) => type === 'cgroup');
  written.set('cgroup.img', cgroupImage(accepted.cgroupSets, cgroup, hasNamespace));
  const files = new Set<string>();
  for (const { destination, type, source } of spec.mounts)
    if (type === 'bind' && destination.startsWith('/dev/') && !(await stat(source)).isDirectory())
      files.add(destination);
  for (const [place, number] of accepted.tmpfs)
    written.set(
      `tmpfs-dev-${number}.tar.gz.img`,
      place === '/dev' ? devArchive(spec, (destination) => files.has(destination)) : emptyArchive(),
    );
  const streams = await archive.read(`checkpoint/${descriptorsFile}`, most.descriptors);
  written.set(descriptorsFile, streamsOf(streams, on));
  return written;
}

/** Returns the streams of the first process, which the runtime replaces by those of the monitor. Pure. */
export function streamsOf(bytes: Uint8Array, on: string): string {
  let streams: unknown;
  try {
    streams = parseJson(Buffer.from(bytes).toString('utf8'));
  } catch {
    streams = undefined;
  }
  const isStream = (each: unknown): boolean =>
    typeof each === 'string' && /^(?:\/dev\/null|pipe:\[\d{1,20}\])$/.test(each);
  if (!Array.isArray(streams) || streams.length !== 3 || !streams.every(isStream))
    throw badArchive(on, `${descriptorsFile} does not have three pipes or null devices`);
  return JSON.stringify(streams);
}

function moreRights(on: string, what: readonly string[]): Error {
  const rest = what.length > most.shown ? `, and ${what.length - most.shown} more` : '';
  return restoreRefused(
    'RUNTIME_RESTORE_RIGHTS',
    'denied',
    on,
    `${what.slice(0, most.shown).join(', ')}${rest}`,
    'restore it in a pod like its own, or create the container from its image',
  );
}

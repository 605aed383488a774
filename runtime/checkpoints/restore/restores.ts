import { rm, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { makeFolder } from '../../../base/storage/index.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import { bytesOf } from '../../config/bytes.ts';
import type { DaemonConfig } from '../../config/types.ts';
import type { Restores } from '../../containers/bundle/restore.ts';
import type { ImageRecord, ImageStore } from '../../images/types.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { newId } from '../../state/identity.ts';
import { freeBytes } from '../destination.ts';
import { isCopied } from '../images/restorable.ts';
import type { WhyNoCheckpoints } from '../support.ts';
import { acceptImages } from './accept.ts';
import { openArchiveFolder } from './archive-folder.ts';
import type { ArchiveFolder } from './archive-folder.ts';
import { baseDigests } from './base-image.ts';
import { changesBytes, writeChanges } from './changes.ts';
import { badArchive, restoreRefused, unsupported } from './errors.ts';
import { verifyRestored } from './verify.ts';

export interface RestoreDeps {
  readonly config: Pick<DaemonConfig['checkpoint'], 'maxSize' | 'keepFree'>;
  readonly images: Pick<
    ImageStore,
    'find' | 'decideForRun' | 'holdsCheckpoint' | 'mountVolume' | 'removeRootfs' | 'fillRootfs'
  >;
  readonly cgroups: CgroupMounts;
  /** Reports why a handler cannot restore; undefined: it can. */
  readonly whyNot: WhyNoCheckpoints;
  /** Where the images of a container are while it is restored, by its id. */
  readonly imagesFolder: (id: string) => string;
  readonly log: Logger;
}

const configFile = 'config.dump';
const changesFile = 'changes.tar';
const mostConfig = 64 * 1024;
/** The annotation by which runc finds criu's configuration (libcontainer, handleCriuConfigurationFile). */
const criuAnnotation = 'org.criu.config';

/** Creates the restore of containers from images that hold a checkpoint. */
export function createRestores(deps: RestoreDeps): Restores {
  const { images } = deps;
  return {
    admit: async (image, verdict, namespace) => {
      if (!(await images.holdsCheckpoint(image))) return undefined;
      const on = image.repoDigests[0] ?? image.id;
      if (verdict.unverified || (verdict.exceptions ?? []).length > 0)
        throw restoreRefused(
          'RUNTIME_RESTORE_UNSIGNED',
          'denied',
          on,
          'the policy admits the image without a signature, and processes are only restored from a signed one',
          'sign the image, and require its signature in a rule of the policy',
        );
      const base = await findBase(deps, image, on);
      return { base, verdict: await images.decideForRun({ image: base, userSpecified: '', namespace }) };
    },
    begin: async ({ record, handler, bundle, checkpoint, base, index, cgroup }) => {
      const on = record.id.slice(0, 13);
      const why = await deps.whyNot(handler);
      if (why !== undefined) throw unsupported(on, why);
      if (deps.cgroups.version !== 2) throw unsupported(on, 'the node has no cgroups of version 2 alone');
      const tree = await images.mountVolume(record.id, index, checkpoint);
      const folder = deps.imagesFolder(record.id);
      await makeFolder(folder);
      const within = <Value>(act: (archive: ArchiveFolder) => Promise<Value>): Promise<Value> =>
        withArchive(tree, on, act);
      return {
        fill: () =>
          within(async (archive) => {
            const most = bytesOf(deps.config.maxSize) ?? 0;
            await requireRoom(deps, archive, folder, on, most);
            const changes = join(folder, changesFile);
            if (!(await writeChanges(archive, on, changes, most))) return;
            await images.fillRootfs(record.id, base, changes);
            await rm(changes);
          }),
        accept: async (asSpecified, settings) => {
          const spec = withCriuConfig(asSpecified, join(bundle, 'criu.conf'));
          await within((archive) => acceptImages({ archive, on, spec, settings, folder, cgroup }));
          // The processes stay stopped until they are compared with the specification.
          await writeFile(join(bundle, 'criu.conf'), 'leave-stopped\n', { mode: 0o600 });
          return spec;
        },
        checkPlan: ({ throughVolumes }, isLinked) => {
          // criu mounts by path, and another container could replace the path meanwhile.
          if (throughVolumes.length > 0)
            throw unsupported(on, `its mount ${throughVolumes[0]} is inside a volume`);
          if (isLinked) throw unsupported(on, 'a link of its image leads a mount into a read-only path');
        },
      };
    },
    verify: async ({ id, bundle, init, cgroup }) => {
      const spec = parseJson(await readFile(join(bundle, 'config.json'), 'utf8')) as OciSpec;
      const beyond = await verifyRestored(deps.cgroups, { init, cgroup, spec }).catch((cause: unknown) => [
        `its processes cannot be read: ${reasonOf(cause)}`,
      ]);
      if (beyond.length > 0)
        throw restoreRefused(
          'RUNTIME_RESTORED_OTHERWISE',
          'denied',
          id.slice(0, 13),
          beyond.slice(0, 10).join(', '),
          'report this with the log of the daemon, because criu has read the images in another way than the daemon',
        );
      deps.log.info({ container: id }, 'a container was restored from a checkpoint');
    },
  };
}

/** Returns the recorded image on which the container of a checkpoint ran. It is never pulled by that name. */
async function findBase(deps: RestoreDeps, image: ImageRecord, on: string): Promise<ImageRecord> {
  const { images } = deps;
  const place = `restore-${newId().slice(0, 32)}`;
  try {
    const tree = await images.mountVolume(place, 0, image);
    const digests = await withArchive(tree, on, async (archive) =>
      baseDigests(await archive.read(configFile, mostConfig), on),
    );
    const base = digests.map((digest) => images.find(digest)).find((found) => found !== undefined);
    const missing = (why: string, fix: string): Error =>
      restoreRefused('RUNTIME_RESTORE_BASE', 'precondition', on, why, fix);
    if (base === undefined)
      throw missing(
        `the image of its container, ${digests[0]}, is not on this node`,
        'pull that image first',
      );
    if (
      base.id === image.id ||
      base.config.artifactType !== undefined ||
      (await images.holdsCheckpoint(base))
    )
      throw missing(`${base.id} is no image that a container runs`, 'write the checkpoint again');
    return base;
  } finally {
    await images.removeRootfs(place);
  }
}

async function withArchive<Value>(
  tree: string,
  on: string,
  act: (archive: ArchiveFolder) => Promise<Value>,
): Promise<Value> {
  const archive = await openArchiveFolder(tree, on);
  try {
    return await act(archive);
  } finally {
    archive.close();
  }
}

/**
 * The images that are copied, and the changed files, fit in the limits of a checkpoint and on the disk. The
 * changed files are there twice: in an archive, and in the writable layer.
 */
async function requireRoom(
  { config }: Pick<RestoreDeps, 'config'>,
  archive: ArchiveFolder,
  folder: string,
  on: string,
  most: number,
): Promise<void> {
  let bytes = 0;
  for (const name of archive.images.filter(isCopied)) bytes += await archive.size(`checkpoint/${name}`);
  if (bytes > most) throw badArchive(on, `its images have ${bytes} bytes, and at most ${most} are allowed`);
  const needed = bytes + 2 * (await changesBytes(archive, on, most));
  if ((await freeBytes(folder)) >= needed + (bytesOf(config.keepFree) ?? 0)) return;
  throw restoreRefused(
    'RUNTIME_RESTORE_UNSUPPORTED',
    'exhausted',
    on,
    'the disk has less free space than a restore must leave free',
    'free space on the disk of the daemon, or lower `checkpoint.keepFree`',
  );
}

function withCriuConfig(spec: OciSpec, path: string): OciSpec {
  return { ...spec, annotations: { ...spec.annotations, [criuAnnotation]: path } };
}

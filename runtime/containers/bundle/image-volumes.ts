import { fstatSync } from 'node:fs';
import { readlink } from 'node:fs/promises';
import { PortcullisError, isPortcullisError, leavesUnknown, reasonOf } from '../../../base/errors/index.ts';
import { O_PATH, closeFd, openInRoot } from '../../../base/kernel/index.ts';
import type { Verdict } from '../../../trust/index.ts';
import type { ContainerConfig, Mount } from '../../cri/contract/contract.types.ts';
import type { ImageRecord, ImageStore, LayerMapping } from '../../images/types.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { isImageVolume, isWithin } from '../mount-sources.ts';

/** Different images of one container: each costs the kernel a mount on the host, which has 100000. */
const mostImages = 256;

/** Characters of a part of the request in an error. */
const longestQuoted = 200;

/** An image volume whose image was admitted for the namespace of the pod. */
export interface AdmittedVolume {
  readonly mount: Mount;
  readonly image: ImageRecord;
  readonly verdict: Verdict;
}

/**
 * Decides about the image of every image volume in the same way as about the image of the container: for this
 * namespace, by the current policy, offline. The ceiling of its rule does not bound the container, because
 * nothing of a volume is executed directly (it is mounted noexec).
 * @throws PortcullisError with the prefix ImageVolumeMountFailed, which kubelets know
 */
export async function admitVolumes(
  images: Pick<ImageStore, 'find' | 'decideForRun'>,
  config: ContainerConfig,
  sandbox: Pick<SandboxRecord, 'config'>,
): Promise<readonly AdmittedVolume[]> {
  const admitted: AdmittedVolume[] = [];
  const distinct = new Set<string>();
  for (const mount of config.mounts.filter(isImageVolume)) {
    const asked = mount.image?.image ?? '';
    if (mount.hostPath !== '')
      throw failed('invalid', mount, 'it also names a host path', 'name either an image or a host path');
    const image = asked === '' ? undefined : images.find(asked);
    if (image === undefined)
      throw failed(
        asked === '' ? 'invalid' : 'precondition',
        mount,
        'no such image is present',
        'pull it first',
      );
    if (distinct.add(image.id).size > mostImages)
      throw failed(
        'invalid',
        mount,
        `the container mounts more than ${mostImages} different images`,
        'mount fewer images, or put their files into one image',
      );
    const namespace = sandbox.config.metadata?.namespace ?? '';
    const verdict = await images
      .decideForRun({ image, userSpecified: mount.image?.userSpecifiedImage ?? '', namespace })
      .catch((thrown: unknown) => rethrow(thrown, mount));
    admitted.push({ mount, image, verdict });
  }
  return admitted;
}

/**
 * Mounts the admitted images and returns their mounts in the container: read-only and, as the feature is
 * defined, noexec (https://kep.k8s.io/4639), without devices and set-user-id. Volumes with the same image
 * share one mount of the host, so that the number of volumes does not exhaust the mounts of the host.
 * @returns bind mounts in place of the image mounts
 */
export async function mountVolumes(
  images: Pick<ImageStore, 'mountVolume'>,
  containerId: string,
  volumes: readonly AdmittedVolume[],
  mapping: LayerMapping | undefined,
): Promise<readonly Mount[]> {
  const mounts: Mount[] = [];
  const trees = new Map<string, string>();
  for (const { mount, image } of volumes) {
    const tree =
      trees.get(image.id) ??
      (await images
        .mountVolume(containerId, trees.size, image, mapping)
        .catch((thrown: unknown) => rethrow(thrown, mount)));
    trees.set(image.id, tree);
    const { image: _image, ...plain } = mount;
    mounts.push({
      ...plain,
      hostPath: await inTree(tree, mount),
      readonly: true,
      // The whole tree is one read-only mount, without a writable mount below it.
      recursiveReadOnly: false,
      propagation: 0,
      // Its layers are idmapped already: an overlay itself cannot be.
      ...(mapping !== undefined && { uidMappings: [], gidMappings: [] }),
      mountOptions: [...new Set(['noexec', 'nosuid', 'nodev', ...mount.mountOptions])],
    });
  }
  return mounts;
}

/**
 * Returns the real path of the sub-path, which is a folder or a file. Links in the image are followed inside
 * the image: the kernel lets none of them lead out (openat2(2), RESOLVE_IN_ROOT).
 */
async function inTree(tree: string, mount: Mount): Promise<string> {
  const { imageSubPath } = mount;
  if (imageSubPath === '') return tree;
  const refused = (kind: 'invalid' | 'precondition', why: string, fix: string): PortcullisError =>
    failed(kind, mount, `the sub path ${JSON.stringify(quoted(imageSubPath))} ${why}`, fix);
  const inImage = 'name a folder or a file of the image';
  if (imageSubPath.startsWith('/') || imageSubPath.split('/').includes('..') || imageSubPath.includes('\0'))
    throw refused('invalid', 'is not relative and clean', 'give a relative path without ".."');
  let fd: number;
  try {
    fd = openInRoot(tree, imageSubPath, { flags: O_PATH });
  } catch (cause) {
    if (leavesUnknown(cause)) throw cause;
    throw refused('precondition', 'does not exist in the image', inImage);
  }
  try {
    const path = await readlink(`/proc/self/fd/${fd}`);
    if (!isWithin(path, tree)) throw refused('precondition', 'leads out of the image', inImage);
    const found = fstatSync(fd);
    if (found.isDirectory() || found.isFile()) return path;
    throw refused('precondition', 'is neither a folder nor a regular file', inImage);
  } finally {
    closeFd(fd);
  }
}

const quoted = (text: string): string => text.slice(0, longestQuoted);

function failed(kind: 'invalid' | 'precondition', mount: Mount, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_IMAGE_VOLUME',
    kind,
    attempted: 'mount image volume',
    on: `${quoted(mount.image?.image || '(no image named)')} at ${quoted(mount.containerPath)}`,
    why,
    fix,
    prefix: 'ImageVolumeMountFailed',
  });
}

/**
 * Rethrows the failure with the word by which a kubelet recognises a failed volume; its own prefix stays
 * readable.
 */
function rethrow(thrown: unknown, mount: Mount): never {
  if (!isPortcullisError(thrown)) throw failed('precondition', mount, reasonOf(thrown), 'see the reason');
  const { failure } = thrown;
  const prefix =
    failure.prefix === undefined ? 'ImageVolumeMountFailed' : `ImageVolumeMountFailed: ${failure.prefix}`;
  throw new PortcullisError({ ...failure, prefix, cause: thrown });
}

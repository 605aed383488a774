import { PortcullisError } from '../../../base/errors/index.ts';
import type { Verdict } from '../../../trust/index.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { ImageRecord, ImageStore } from '../../images/types.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { Admission } from '../container-effects.ts';
import { admitVolumes } from './image-volumes.ts';
import type { Restores } from './restore.ts';
import type { AdmittedVolume } from './image-volumes.ts';

export interface AdmittedImage {
  readonly image: ImageRecord;
  readonly verdict: Verdict;
  /** Images that are mounted as volumes. */
  readonly volumes: readonly AdmittedVolume[];
  /** The image of a checkpoint, from which the container is restored. `image` is the one on which it ran. */
  readonly checkpoint?: ImageRecord;
}

/**
 * Finds the image and decides again, offline, for the namespace of this pod. A kubelet skips PullImage for an
 * image that is present, so an admission for another namespace or under an older policy proves nothing here
 * (design: decide again at CreateContainer).
 * @param restores absent: an image that holds a checkpoint is an image like any other
 * @throws PortcullisError RUNTIME_IMAGE_NOT_FOUND, RUNTIME_IMAGE_IS_ARTIFACT; IMAGES_DENIED, IMAGES_UNDECIDED
 * and other errors of the image store if the image is not admitted
 */
export async function admitForRun(
  images: Pick<ImageStore, 'find' | 'decideForRun'>,
  config: ContainerConfig,
  sandbox: Pick<SandboxRecord, 'config'>,
  restores?: Pick<Restores, 'admit'>,
): Promise<Admission> {
  const asked = config.image?.image ?? '';
  const image = asked === '' ? undefined : images.find(asked);
  if (image === undefined) {
    throw new PortcullisError({
      code: 'RUNTIME_IMAGE_NOT_FOUND',
      kind: 'not-found',
      attempted: 'create container from image',
      on: asked || '(none named)',
      why: 'no such image is present',
      fix: 'pull it first',
    });
  }
  if (image.config.artifactType !== undefined) throw isArtifact(asked, image.config.artifactType);
  const namespace = sandbox.config.metadata?.namespace ?? '';
  const verdict = await images.decideForRun({
    image,
    userSpecified: config.image?.userSpecifiedImage ?? '',
    namespace,
  });
  const volumes = await admitVolumes(images, config, sandbox);
  const restored = await restores?.admit(image, verdict, namespace);
  const refOf = (of: ImageRecord): string => of.repoDigests[0] ?? of.id;
  if (restored === undefined)
    return {
      imageId: image.id,
      imageRef: refOf(image),
      verdictId: verdict.id,
      token: { image, verdict, volumes } satisfies AdmittedImage,
    };
  const { base } = restored;
  return {
    imageId: base.id,
    imageRef: refOf(base),
    verdictId: restored.verdict.id,
    restoredFrom: { imageId: image.id, imageRef: refOf(image), verdictId: verdict.id },
    token: {
      image: base,
      verdict: bothBound(restored.verdict, verdict),
      volumes,
      checkpoint: image,
    } satisfies AdmittedImage,
  };
}

/** The ceilings of both images bound a restored container. */
function bothBound(base: Verdict, checkpoint: Verdict): Verdict {
  const requested = [...(base.requestedEntitlements ?? []), ...(checkpoint.requestedEntitlements ?? [])];
  return {
    ...base,
    ceilings: [...base.ceilings, ...checkpoint.ceilings],
    ...(requested.length > 0 && { requestedEntitlements: requested }),
  };
}

function isArtifact(asked: string, type: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_IMAGE_IS_ARTIFACT',
    kind: 'invalid',
    attempted: 'create container from image',
    on: asked,
    why: `it is not an image but an artifact of the type ${JSON.stringify(type.slice(0, 128))}: it has files, and no program to run`,
    fix: 'name an image, and mount the artifact as an image volume',
  });
}

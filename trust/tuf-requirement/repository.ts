import { canonicalDigest } from '../json/canonical-json.ts';
import type { NormalisedReference } from '../requirements/named-images.ts';
import type { LookUp } from '../tuf/search.ts';
import type { TufPin, TufRequirement } from '../requirements/tuf.ts';

/** The repository of signed metadata that is responsible for one image under one requirement. */
export interface ImageRepository {
  /** Equal for requirements that share downloaded and stored metadata. */
  readonly key: string;
  /** `HOST/PATH`. Notary calls it GUN. */
  readonly image: string;
  /** The address of its metadata. */
  readonly url: string;
  /** Undefined when the policy names no root for this image. */
  readonly root: 'first-use' | TufPin | undefined;
  /** The target name of the reference's tag; undefined when the reference has only a digest. */
  readonly target: string | undefined;
  /** The hex sha256 in the reference. */
  readonly digest: string | undefined;
  /** Returns whether a target belongs to this image. */
  about(path: string): boolean;
  readonly lookUp: LookUp;
}

/** The number of roles that one lookup may visit. */
const mostRoles = 64;

export function repositoryOf(requirement: TufRequirement, reference: NormalisedReference): ImageRepository {
  const { service, dialect, names, roles } = requirement;
  const image = `${reference.registry}/${reference.repository}`;
  const root = rootOf(requirement, image);
  const shared = names === 'reference';
  const tag = reference.tag ?? (reference.digest === undefined ? 'latest' : undefined);
  const pin = root === undefined || root === 'first-use' ? root : root.digest;
  return {
    key: canonicalDigest([dialect, service, shared ? '' : image, pin ?? '']).slice('sha256:'.length),
    image,
    // A registry stores an image's metadata beside the image, under a tag.
    url: shared
      ? service
      : service.startsWith('oci://')
        ? `${service}/${reference.repository}`
        : dialect === 'notary'
          ? `${service}/v2/${image}/_trust/tuf`
          : `${service}/tuf/${image}`,
    root,
    target: tag === undefined ? undefined : shared ? `${image}:${tag}` : tag,
    digest: reference.digest?.replace(/^sha256:/u, ''),
    about: (path) => !shared || path.startsWith(`${image}:`),
    lookUp: { roles, mostRoles },
  };
}

function rootOf({ root }: TufRequirement, image: string): ImageRepository['root'] {
  if (root === 'first-use') return root;
  return root.find((pin) => pin.image === image) ?? root.find((pin) => pin.image === undefined);
}

import { canonicalDigest } from '../../canonical-json.ts';
import type { NormalisedReference } from '../../policy/matching.ts';
import type { LookUp } from '../search.ts';
import type { TufPin, TufRequirement } from './requirement.ts';

/** The repository of signed metadata that speaks for one image, under one requirement. */
export interface ImageRepository {
  /** Equal for requirements that share what is fetched and kept. */
  readonly key: string;
  /** `HOST/PATH`. Notary calls it GUN. */
  readonly image: string;
  /** Where its metadata are. */
  readonly url: string;
  /** Undefined: the policy names no root for this image. */
  readonly root: 'first-use' | TufPin | undefined;
  /** What the reference's tag is called there; undefined when the reference names a digest alone. */
  readonly target: string | undefined;
  /** Hex sha256 that the reference names. */
  readonly digest: string | undefined;
  /** Whether a target is one of this image's. */
  about(path: string): boolean;
  readonly lookUp: LookUp;
}

/** Roles that one look-up may visit. */
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
    // A registry has an image's metadata beside the image, under a tag.
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

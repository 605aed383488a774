import { digestOf, fallbackTag, mediaTypes, orAbsent } from '../../base/distribution/index.ts';
import type { Descriptor, FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import {
  attestationTag,
  bundleContentAnnotation,
  bundleMediaTypes,
  cosignPredicateType,
  predicateTypeAnnotation,
  signatureTag,
} from '../evidence/cosign-names.ts';
import { tagEntries } from '../signing/attach.ts';
import { defaultTufTag } from '../tuf-client/oci-source.ts';

/** One thing in a repository that says something about an image. */
export interface EvidencePiece {
  /** The digest that it is about: the index, a platform's manifest, or another piece. */
  readonly subject: string;
  /** `referrer`: in the list of referrers. `tag`: under a tag of cosign's older form. */
  readonly form: 'referrer' | 'tag';
  /** The digest of a referrer, or the tag. */
  readonly name: string;
  /** The digest of its manifest. */
  readonly digest: string;
  /** Its kind, in words: `signature (sigstore bundle)`, or its artifact type. */
  readonly what: string;
  /** One digest for each signature, attestation or document under a tag. */
  readonly entries?: readonly string[];
}

/**
 * The content of a repository that belongs to an image, and the evidence about it. Nothing is verified here.
 */
export interface ImageInventory {
  /** `HOST/REPOSITORY`. */
  readonly repository: string;
  /** Digest of the index or manifest. */
  readonly digest: string;
  /** Digests of the manifests of all platforms that are there. */
  readonly manifests: readonly string[];
  /** Manifests that the index names and the repository does not have. */
  readonly absentManifests: readonly string[];
  readonly pieces: readonly EvidencePiece[];
  /** Digest of the signed metadata (TUF) beside the image. */
  readonly metadata?: string;
}

/** Content that a copy of an image lacks. */
export interface LostInCopy {
  /** The copy is another image: no evidence about the original applies to it. */
  readonly otherDigest?: string;
  readonly manifests: readonly string[];
  readonly pieces: readonly EvidencePiece[];
  readonly metadata: boolean;
}

/** Signatures of attestations of images: deeper evidence is not in use. */
const mostDepth = 3;
const manifestTypes: readonly string[] = Object.values(mediaTypes);
/** Far more than an honest image has. */
const mostPieces = 2000;

/**
 * Lists an image, its platforms, and everything that refers to them: referrers, tags of cosign's older forms,
 * and signed metadata. Fetches manifests only.
 * @param wanted tag or digest
 * @throws PortcullisError of base/distribution; TRUST_TOO_MUCH_EVIDENCE when there are more than 2,000 pieces
 */
export async function inventoryOf(
  repository: RegistryRepository,
  wanted: string,
  signal?: AbortSignal,
): Promise<ImageInventory> {
  const on = `${repository.host}/${repository.repository}`;
  const options = signal === undefined ? {} : { signal };
  const pieces: EvidencePiece[] = [];
  const add = (piece: EvidencePiece): void => {
    if (pieces.length >= mostPieces) throw tooMuchEvidence(on);
    pieces.push(piece);
  };
  const top = await repository.manifest(wanted, signal);
  const { present, absent } = await platformsOf(repository, top, signal);
  const seen = new Set<string>();
  const referrers = async (subject: string, depth: number): Promise<void> => {
    const { descriptors, complete } = await repository.referrers(subject, options);
    if (!complete) throw tooMuchEvidence(on);
    for (const one of descriptors) {
      if (seen.has(one.digest)) continue;
      seen.add(one.digest);
      // A registry may list what it does not have, for example after a copy of the list alone.
      const isRead = manifestTypes.includes(one.mediaType);
      if (isRead && (await orAbsent(repository.manifest(one, signal))) === undefined) continue;
      add({ subject, form: 'referrer', name: one.digest, digest: one.digest, what: whatOf(one) });
      if (depth < mostDepth) await referrers(one.digest, depth + 1);
    }
  };
  for (const digest of [...new Set([top.digest, ...present])]) {
    await referrers(digest, 1);
    for (const [tag, what] of [
      [signatureTag(digest), 'signatures (cosign, older form)'],
      [attestationTag(digest), 'attestations (cosign, older form)'],
      [`${fallbackTag(digest)}.sbom`, 'SBOM (cosign, older form)'],
    ] as const) {
      const found = await orAbsent(repository.manifest(tag, signal));
      if (found === undefined) continue;
      const entries = tagEntries(found).map((entry) => digestOf(entry));
      add({ subject: digest, form: 'tag', name: tag, digest: found.digest, what, entries });
    }
  }
  const metadata = await orAbsent(repository.manifest(defaultTufTag, signal));
  return {
    repository: on,
    digest: top.digest,
    manifests: present,
    absentManifests: absent,
    pieces,
    ...(metadata === undefined ? {} : { metadata: metadata.digest }),
  };
}

/**
 * Returns what a copy lacks of the original. A piece under a tag counts as lost when the copy has other
 * content under that tag, because tags are moved, unless this content includes each entry of the original: a
 * copy may have signatures of its own. Pure.
 */
export function lostInCopy(original: ImageInventory, copy: ImageInventory): LostInCopy {
  const key = ({ form, name, digest }: EvidencePiece): string => `${form} ${name} ${digest}`;
  const there = new Set(copy.pieces.map(key));
  const underTag = new Map(copy.pieces.map(({ name, entries = [] }) => [name, new Set(entries)]));
  const isIncluded = ({ name, entries = [] }: EvidencePiece): boolean =>
    entries.length > 0 && entries.every((entry) => underTag.get(name)?.has(entry) === true);
  const manifests = new Set(copy.manifests);
  return {
    ...(copy.digest === original.digest ? {} : { otherDigest: copy.digest }),
    manifests: original.manifests.filter((digest) => !manifests.has(digest)),
    pieces: original.pieces.filter((piece) => !there.has(key(piece)) && !isIncluded(piece)),
    metadata: original.metadata !== undefined && copy.metadata !== original.metadata,
  };
}

/** Whether a copy has everything. Pure. */
export function isComplete({ otherDigest, manifests, pieces, metadata }: LostInCopy): boolean {
  return otherDigest === undefined && manifests.length === 0 && pieces.length === 0 && !metadata;
}

async function platformsOf(
  repository: RegistryRepository,
  { content, digest }: FetchedManifest,
  signal: AbortSignal | undefined,
): Promise<{ readonly present: readonly string[]; readonly absent: readonly string[] }> {
  if (content.kind !== 'index') return { present: [digest], absent: [] };
  const [present, absent]: [string[], string[]] = [[], []];
  for (const child of content.manifests) {
    const found = await orAbsent(repository.manifest(child, signal));
    (found === undefined ? absent : present).push(child.digest);
  }
  return { present, absent };
}

/** Describes a referrer by what its descriptor says. */
function whatOf({ artifactType, annotations = {} }: Descriptor): string {
  const type = artifactType ?? 'artifact without a type';
  if (type === 'application/vnd.cncf.notary.signature') return 'signature (Notary Project)';
  if (!bundleMediaTypes.includes(type)) return type;
  const predicate = annotations[predicateTypeAnnotation];
  if (predicate === cosignPredicateType || annotations[bundleContentAnnotation] === 'message-signature')
    return 'signature (sigstore bundle)';
  return predicate === undefined ? 'sigstore bundle' : `attestation ${predicate}`;
}

/** Returns the error for an image to which more refers than is listed. */
export function tooMuchEvidence(on: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_TOO_MUCH_EVIDENCE',
    kind: 'invalid',
    attempted: 'list evidence',
    on,
    why: `more than ${mostPieces} artifacts, or more than a registry lists at once, refer to one image`,
    fix: 'remove artifacts that nobody needs from the registry',
  });
}

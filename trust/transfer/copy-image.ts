import pLimit from 'p-limit';
import {
  digestOf,
  fallbackTag,
  formatReference,
  mediaTypes,
  orAbsent,
  parseReference,
} from '../../base/distribution/index.ts';
import type { Descriptor, FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { attestationTag, signatureTag } from '../evidence/cosign-names.ts';
import { copyToTag } from '../signing/attach.ts';
import { defaultTufTag, ociSource } from '../tuf-client/oci-source.ts';
import { tooMuchEvidence } from './inventory.ts';
import { keptMetadata, metadataKeptText } from './kept-metadata.ts';
import type { MetadataKept } from './kept-metadata.ts';

/** The result of copying an image. */
export interface CopiedImage {
  readonly reference: string;
  /** Digest of the index or manifest. */
  readonly digest: string;
  readonly manifests: number;
  /** Number of signatures, attestations and other artifacts that refer to the image. */
  readonly evidence: number;
  /** Whether signed metadata (TUF) was copied too. */
  readonly metadata: boolean;
  /** Why the destination kept its own signed metadata, if it did. */
  readonly metadataKept?: MetadataKept;
  /** Number of artifacts that refer to the image and that registries no longer take, by their type. */
  readonly leftOut?: number;
}

/** Returns what a command adds to its report of a copy, or an empty text. */
export function copyRemarks({
  metadataKept,
  leftOut,
}: Pick<CopiedImage, 'metadataKept' | 'leftOut'>): string {
  const others = leftOut === undefined ? '' : `, artifacts of other manifest types left out: ${leftOut}`;
  return `${metadataKeptText(metadataKept)}${others}`;
}

/** How much of an image was copied. */
export interface CopiedSoFar {
  readonly bytes: number;
  /** Grows while manifests are read. */
  readonly totalBytes: number;
}

export type CopyProgress = (copied: CopiedSoFar) => void;

export interface CopyImageInput {
  readonly from: RegistryRepository;
  readonly to: RegistryRepository;
  /** The image's name, for messages; `wanted` is its tag or digest. */
  readonly reference: string;
  readonly wanted: string;
  /** The tag at the destination; undefined for a digest. */
  readonly tag: string | undefined;
  readonly signal?: AbortSignal;
  readonly progress?: CopyProgress;
}

/** The types of manifests that can be read and pushed. */
const manifestTypes: readonly string[] = Object.values(mediaTypes);

/** Blobs of a manifest that are copied at the same time. */
const atOnce = 4;

/** Indexes in indexes. The daemon pulls no image that is nested deeper either. */
const mostNestedIndexes = 4;

/** Evidence of evidence of evidence: deeper signatures are not in use. */
const mostDepth = 3;

/**
 * Layers that registries and archives may lack, because clients get them from their publisher (image-spec,
 * layer.md, "Non-Distributable Layers"): the base layers of Windows. Other tools leave them out, too.
 */
export const foreignLayer =
  /^application\/vnd\.(?:oci\.image\.layer\.nondistributable|docker\.image\.rootfs\.foreign)\./u;

/**
 * Copies an image with every platform (the digest of its index is what was signed), everything that refers to
 * it (referrers, and cosign's tags), and the signed metadata of its repository. Signatures and attestations
 * that the destination has under cosign's tags stay, and so does its own or newer metadata. The tag is
 * written last, so that a client that sees the tag finds everything else.
 * @throws PortcullisError of base/distribution; TRUST_TOO_MUCH_EVIDENCE when the source does not list
 * everything that refers to the image
 */
export async function copyImage({
  from,
  to,
  reference,
  wanted,
  tag,
  signal,
  progress,
}: CopyImageInput): Promise<CopiedImage> {
  const options = signal === undefined ? {} : { signal };
  const mounting = from.host === to.host && { mountFrom: from.repository };
  const seen = new Set<string>();
  const images: string[] = [];
  let [manifests, evidence, leftOut] = [0, 0, 0];
  const copied = createCount(progress);
  const blob = async (descriptor: Descriptor, ending: AbortSignal): Promise<void> => {
    if (seen.has(descriptor.digest)) return;
    seen.add(descriptor.digest);
    const count = copied.part();
    const source = async (): Promise<AsyncIterable<Uint8Array>> =>
      count.through(await from.blob(descriptor, ending));
    const copying = to.pushBlobFrom(descriptor, source, { signal: ending, ...mounting });
    await (foreignLayer.test(descriptor.mediaType) ? orAbsent(copying) : copying);
    count.is(descriptor.size);
  };
  /** Copies the content that a manifest refers to, without the manifest itself. */
  const content = async ({ content: said, digest }: FetchedManifest, depth = 0): Promise<void> => {
    if (said.kind === 'index') {
      if (depth === mostNestedIndexes) throw tooDeep(digest, reference);
      for (const child of said.manifests) await image(child, depth + 1);
    } else {
      const parts = [said.config, ...said.layers];
      const fresh = new Map(
        parts.filter(({ digest }) => !seen.has(digest)).map(({ digest, size }) => [digest, size]),
      );
      for (const size of fresh.values()) copied.expect(size);
      await allOf(parts, blob, signal);
    }
  };
  const image = async (what: string | Descriptor, depth: number): Promise<FetchedManifest> => {
    const fetched = await from.manifest(what, signal);
    // It would get another name at the destination, under which the index that lists it does not find it.
    if (fetched.digest !== digestOf(fetched.bytes)) throw notSha256(fetched.digest, reference);
    if (!seen.has(fetched.digest)) {
      seen.add(fetched.digest);
      await content(fetched, depth);
      manifests += 1;
      images.push(fetched.digest);
    }
    await to.pushManifest(fetched.bytes, fetched.mediaType, options);
    return fetched;
  };
  const referrers = async (digest: string, depth: number): Promise<void> => {
    if (depth > mostDepth) return;
    const { descriptors, complete } = await from.referrers(digest, options);
    if (!complete) throw tooMuchEvidence(`${from.host}/${from.repository}`);
    for (const one of descriptors.filter((each) => !seen.has(each.digest))) {
      seen.add(one.digest);
      // For example the artifact manifests of candidates of OCI 1.1, which no collector of evidence reads.
      if (!manifestTypes.includes(one.mediaType)) {
        leftOut += 1;
        continue;
      }
      // A list can name what was removed from the registry, for example a revoked signature.
      const fetched = await orAbsent(from.manifest(one, signal));
      if (fetched === undefined) continue;
      await content(fetched);
      await to.pushReferrer(fetched.bytes, fetched.mediaType, options);
      evidence += 1;
      await referrers(one.digest, depth + 1);
    }
  };
  const replaced = async (name: string, fetched: FetchedManifest): Promise<void> => {
    await to.pushManifest(fetched.bytes, fetched.mediaType, { ...options, tag: name });
  };
  const added = (name: string, fetched: FetchedManifest): Promise<void> =>
    copyToTag(to, name, fetched, signal);
  const tagged = async (name: string, put: typeof replaced): Promise<boolean> => {
    const fetched = await orAbsent(from.manifest(name, signal));
    if (fetched === undefined) return false;
    await content(fetched);
    await put(name, fetched);
    return true;
  };

  const top = await image(wanted, 0);
  for (const digest of [...images]) {
    await referrers(digest, 1);
    for (const name of [signatureTag(digest), attestationTag(digest)])
      if (await tagged(name, added)) evidence += 1;
    if (await tagged(`${fallbackTag(digest)}.sbom`, replaced)) evidence += 1;
  }
  let metadataKept: MetadataKept | undefined;
  const found = await tagged(defaultTufTag, async (name, fetched) => {
    metadataKept = await keptMetadata(ociSource([from], defaultTufTag), to);
    if (metadataKept === undefined) await replaced(name, fetched);
  });
  const metadata = found && metadataKept === undefined;
  if (tag !== undefined) await to.pushManifest(top.bytes, top.mediaType, { ...options, tag });
  return {
    ...{ reference, digest: top.digest, manifests, evidence, metadata },
    ...(metadataKept === undefined ? {} : { metadataKept }),
    ...(leftOut === 0 ? {} : { leftOut }),
  };
}

function tooDeep(digest: string, on: string): PortcullisError {
  return new PortcullisError({
    code: 'DISTRIBUTION_BAD_MANIFEST',
    kind: 'invalid',
    attempted: 'copy image',
    on,
    why: `its index ${digest} is in ${mostNestedIndexes} other indexes`,
    fix: 'build the image with one index, which lists the manifests of all platforms',
  });
}

function notSha256(digest: string, on: string): PortcullisError {
  return new PortcullisError({
    code: 'DISTRIBUTION_BAD_DIGEST',
    kind: 'invalid',
    attempted: 'copy image',
    on,
    why: `its manifest ${digest} has no sha256 digest, and only manifests with one are pushed`,
    fix: 'build the image with sha256 digests, or copy it with another tool',
  });
}

/** Returns the tag or digest of a reference, and the tag alone. */
export function wantedOf(text: string): {
  readonly reference: ReturnType<typeof parseReference>;
  readonly wanted: string;
  readonly tag: string | undefined;
  readonly name: string;
} {
  const reference = parseReference(text);
  const tag = reference.digest === undefined ? (reference.tag ?? 'latest') : reference.tag;
  return { reference, wanted: reference.digest ?? tag ?? 'latest', tag, name: formatReference(reference) };
}

/**
 * Copies parts, a few at the same time. The first failure ends the others. @throws the first failure, when
 * all have ended
 */
async function allOf<T>(
  parts: readonly T[],
  copy: (part: T, ending: AbortSignal) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const failed = new AbortController();
  const ending = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const limit = pLimit(atOnce);
  let first: { readonly reason: unknown } | undefined;
  await Promise.all(
    parts.map((part) =>
      limit(async () => {
        if (first !== undefined) return;
        await copy(part, ending).catch((reason: unknown) => {
          first ??= { reason };
          failed.abort(reason);
        });
      }),
    ),
  );
  if (first !== undefined) throw first.reason;
}

/** The bytes of one blob. */
interface CountedPart {
  /** Counts the bytes of an attempt; those of an attempt before it no longer count. */
  through(stream: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  is(bytes: number): void;
}

/** Counts the bytes of blobs that are copied at the same time. */
function createCount(progress: CopyProgress | undefined): {
  readonly expect: (bytes: number) => void;
  readonly part: () => CountedPart;
} {
  let [bytes, totalBytes] = [0, 0];
  const part = (): CountedPart => {
    let own = 0;
    const is = (now: number): void => {
      bytes += now - own;
      own = now;
      progress?.({ bytes, totalBytes });
    };
    return {
      is,
      async *through(stream) {
        is(0);
        for await (const chunk of stream) {
          is(own + chunk.length);
          yield chunk;
        }
      },
    };
  };
  return { expect: (more) => void (totalBytes += more), part };
}

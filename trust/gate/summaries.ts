import { createHash } from 'node:crypto';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { parseReference } from '../../base/distribution/index.ts';
import { PortcullisError, asPortcullisError, errorToJson } from '../../base/errors/index.ts';
import { makeFolder, writeFileAtomic } from '../../base/storage/index.ts';
import { summaryPredicateType } from '../attestation/predicate-types.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import type { Signer } from '../signers/signer.ts';
import { attachBundle } from '../signing/attach.ts';
import { attestationPayload } from '../signing/attest-image.ts';
import { signBundle } from '../signing/dsse-bundle.ts';
import { unevaluated } from './provenance.ts';
import type { GateImage, GateResult, ImageSummary, UsedEvidence } from './types.ts';

/** Who signs the summaries, and where they go. */
export interface SummariesInput {
  readonly signer: Signer;
  /** URI of the verifier (`verifier.id`). */
  readonly verifier: string;
  /** The version of this program. */
  readonly version: string;
  /** URI of the policy. Default: a URN with its revision. */
  readonly policyUri?: string;
  /** Attaches each summary to its image. */
  readonly push: boolean;
  /** Writes each summary to a file of this folder. */
  readonly folder?: string;
  readonly registry: RegistryAccess;
  /** Every platform of an index was asked for: a summary may be about the index itself. */
  readonly allPlatforms: boolean;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/** The version of the SLSA specification that the fields follow. */
const slsaVersion = '1.2';
const atOnce = 4;

/**
 * Signs a verification summary (SLSA VSA) for each image that the policy itself admits: not for one that a
 * waiver, an exception or `allow: unverified` lets pass, and not where another question of the same run about
 * the same image, for another namespace or platform or by another name, is not answered with a proof. The
 * subjects are the manifests that were decided about, and their index only if every platform of it was. A
 * summary that cannot be signed or pushed is reported, and the others are made all the same.
 * @returns the result, with what became of each summary
 * @throws the signal's reason when the caller aborts
 */
export async function signSummaries(result: GateResult, input: SummariesInput): Promise<GateResult> {
  const groups = Map.groupBy(
    result.images.filter(({ digest }) => digest !== undefined),
    ({ reference, digest = '' }) => JSON.stringify([repositoryOf(reference), digest]),
  );
  const refused = new Set(result.images.flatMap((image) => (isProven(image) ? [] : namesOf(image))));
  const made = new Map<GateImage, ImageSummary>();
  const limit = pLimit(atOnce);
  const jobs = [...groups.values()].flatMap((images) => planned(images, refused, input.allPlatforms, made));
  await Promise.all(
    jobs.map((job) =>
      limit(async () => {
        input.signal?.throwIfAborted();
        const summary = await signOne(job, result, input);
        for (const image of job.images) made.set(image, summary);
      }),
    ),
  );
  const images = result.images.map((image) => ({
    ...image,
    summary:
      made.get(image) ??
      ({
        status: 'not-signed',
        why: image.decision === 'waived' ? 'only a waiver lets the image pass' : 'the image is not admitted',
      } as const),
  }));
  return { ...result, images };
}

/** One summary to sign. */
interface Job {
  readonly images: readonly GateImage[];
  /** Digests that it is about, beginning with the one that it is attached to. */
  readonly subjects: readonly string[];
}

/** Returns the summaries for one digest of a repository, and notes why an image gets none. */
function planned(
  images: readonly GateImage[],
  refused: ReadonlySet<string>,
  allPlatforms: boolean,
  made: Map<GateImage, ImageSummary>,
): readonly Job[] {
  if (images.some((image) => namesOf(image).some((name) => refused.has(name)))) {
    for (const image of images)
      if (image.decision === 'admitted') made.set(image, { status: 'not-signed', why: whyNot(image) });
    return [];
  }
  const manifests = Map.groupBy(images, ({ manifestDigest = '' }) => manifestDigest);
  const [first] = images;
  if (allPlatforms && first?.digest !== undefined && first.partial === undefined)
    return [{ images, subjects: [...new Set([first.digest, ...manifests.keys()])] }];
  return [...manifests].map(([digest, those]) => ({ images: those, subjects: [digest] }));
}

/**
 * Returns the names of an image in a run. The same manifest may be asked about beside its index, or in two of
 * them. A refusal for which nothing was fetched has no digest: it counts by the reference.
 */
function namesOf({ reference, digest, manifestDigest }: GateImage): readonly string[] {
  const digests = [digest, manifestDigest].filter((one) => one !== undefined);
  return [reference, ...digests.map((one) => `${repositoryOf(reference)}@${one}`)];
}

/** An exception or `allow: unverified` proves nothing. */
function isProven({ decision, verdict }: GateImage): boolean {
  return decision === 'admitted' && verdict?.unverified === false;
}

function whyNot(image: GateImage): string {
  return isProven(image)
    ? 'in this run, the policy does not admit the image in another namespace, for another platform or by another name'
    : 'the policy admits the image without a proof';
}

async function signOne(job: Job, result: GateResult, input: SummariesInput): Promise<ImageSummary> {
  const [image] = job.images;
  const [attachedTo = ''] = job.subjects;
  const name = repositoryOf(image?.reference ?? '');
  try {
    if (!job.subjects.every((digest) => digest.startsWith('sha256:'))) throw notSha256(name, attachedTo);
    const payload = attestationPayload(
      name,
      job.subjects,
      summaryPredicateType,
      predicateOf(job, name, result, input),
    );
    const bundle = await signBundle(payload, input.signer);
    return {
      status: 'signed',
      subjects: job.subjects,
      ...(await written(bundle, name, attachedTo, input)),
      ...(await attached(bundle, image?.reference ?? '', attachedTo, input)),
    };
  } catch (thrown) {
    input.signal?.throwIfAborted();
    const error = asPortcullisError(thrown, {
      code: 'TRUST_GATE_FAILED',
      kind: 'internal',
      attempted: 'sign verification summary',
      on: `${name}@${attachedTo}`,
      fix: 'report this',
    });
    return { status: 'failed', error: errorToJson(error) };
  }
}

/** SLSA specification 1.2, "Verification Summary Attestation", Schema. */
function predicateOf(job: Job, name: string, result: GateResult, input: SummariesInput): object {
  const revision = result.policyRevision.replace(/^sha256:/, '');
  const used = new Map<string, UsedEvidence>();
  for (const { evidence = [] } of job.images) for (const one of evidence) used.set(one.digest, one);
  return {
    verifier: { id: input.verifier, version: { portcullis: input.version } },
    timeVerified: result.decidedAt,
    resourceUri: `oci://${name}@${job.subjects[0] ?? ''}`,
    policy: { uri: input.policyUri ?? `urn:portcullis:policy:${revision}`, digest: { sha256: revision } },
    inputAttestations: [...used.values()].map(({ uri, digest }) => ({
      uri,
      digest: { sha256: digest.replace(/^sha256:/, '') },
    })),
    verificationResult: 'PASSED',
    verifiedLevels: lowest(job.images.map(({ levels = [unevaluated] }) => levels)),
    slsaVersion,
  };
}

/** A summary about several platforms says what holds for all of them. */
function lowest(levels: readonly (readonly string[])[]): readonly string[] {
  const builds = levels.map(([level = unevaluated]) => level).sort();
  return [builds.includes(unevaluated) ? unevaluated : (builds[0] ?? unevaluated)];
}

async function written(
  bundle: Buffer,
  name: string,
  digest: string,
  { folder }: SummariesInput,
): Promise<{ readonly file?: string }> {
  if (folder === undefined) return {};
  await makeFolder(folder, 0o755);
  // Two repositories may hold the same digest, and a name is too long for a file.
  const place = createHash('sha256').update(name).digest('hex').slice(0, 8);
  const file = join(folder, `${digest.replace(':', '-')}.${place}.vsa.sigstore.json`);
  await writeFileAtomic(file, bundle, { mode: 0o644 });
  return { file };
}

async function attached(
  bundle: Buffer,
  reference: string,
  digest: string,
  { push, registry, now, signal }: SummariesInput,
): Promise<{ readonly manifestDigest?: string }> {
  if (!push) return {};
  // Pushes go to the last of the repositories to ask: the origin, unless a mirror replaces it.
  const repository = (await registry.repositories(parseReference(reference))).at(-1);
  if (repository === undefined)
    throw new PortcullisError({
      code: 'TRUST_NO_REGISTRY',
      kind: 'invalid',
      attempted: 'attach verification summary',
      on: reference,
      why: 'no registry serves it',
      fix: 'check --registry-mirror',
    });
  const about = { predicateType: summaryPredicateType, now, signal };
  return { manifestDigest: (await attachBundle(repository, digest, bundle, about)).manifestDigest };
}

function repositoryOf(reference: string): string {
  const { registry, repository } = parseReference(reference);
  return `${registry}/${repository}`;
}

function notSha256(name: string, digest: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_DIGEST_NOT_SHA256',
    kind: 'invalid',
    attempted: 'sign verification summary',
    on: `${name}@${digest}`,
    why: 'attestations support only sha256 digests',
    fix: 'name the image by tag or sha256 digest',
  });
}

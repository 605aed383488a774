import { createHash } from 'node:crypto';
import type { Credentials, RegistryRepository } from '../../base/distribution/index.ts';
import { canonicalJson, createNegativeCache, previousAnswer } from '../../trust/evidence/index.ts';
import type { SignedReference } from '../../trust/evidence/index.ts';
import { gather } from '../../trust/index.ts';
import type { Dossier, Platform, TrustPolicy, Verdict } from '../../trust/index.ts';
import { absentBlobs, claimArtifactLayer, imageIdOf } from './artifact-layer.ts';
import type { BlobOrigin } from './blob-sources.ts';
import { chainIds } from './chain-ids.ts';
import type { Decided } from './decisions.ts';
import { artifactConfig } from './manifest/artifact-manifest.ts';
import { parseImageConfig } from './manifest/image-config.ts';
import type { ParsedConfig } from './manifest/image-config.ts';
import { credentialsFor, namesOf, parseImageName } from './image-name.ts';
import type { ImageName } from './image-name.ts';
import type { ImageDocument, StoredImage } from './stored-image.ts';
import { cancelled, pullFailure } from './pull-failures.ts';
import { publish } from './publish.ts';
import { firstAnswer, resolveImage } from './resolve.ts';
import type { ResolvedImage } from './resolve.ts';
import { signedIndex } from './signed-index.ts';
import { traced } from '../tracing/spans.ts';
import type { PullRequest } from './types.ts';
import { beginCourse, endCourse, releaseCourse } from './pull-course.ts';
import type { Admitted, Course, PullDeps } from './pull-course.ts';
import { unpackLayers } from './unpack-layers.ts';

/** Dependencies of a pull that a decision about a reference needs. */
export type VerifyDeps = Pick<
  PullDeps,
  | 'platform'
  | 'limits'
  | 'decisions'
  | 'registryClient'
  | 'now'
  | 'gathering'
  | 'documents'
  | 'negativeCache'
  | 'services'
> & { readonly records: Pick<PullDeps['records'], 'append' | 'byName'> };

/** A reference that the policy admits, at the digest to which the registry resolved it. */
export interface Verified {
  readonly name: ImageName;
  readonly resolved: ResolvedImage;
  readonly dossier: Dossier;
  /** Its log rows are not written yet. */
  readonly decided: Decided;
}

/** The requested name, and the digest to which the registry resolved it. */
interface Asked {
  readonly name: ImageName;
  readonly namespace: string;
  readonly platform: Platform;
  readonly policy: TrustPolicy;
  readonly resolved: ResolvedImage;
  readonly signed: SignedReference | undefined;
  readonly credentials: Credentials | undefined;
  readonly places: readonly RegistryRepository[];
}

/**
 * Resolves, decides, and only then unpacks. Evidence and blobs are fetched in parallel. After an admitting
 * verdict, each layer is unpacked as soon as its blob is complete, while the other blobs are fetched. A
 * verdict other than admit ends the fetches and leaves only the verdict and its evidence.
 */
export async function pullImage(
  deps: PullDeps,
  request: PullRequest,
): Promise<{ readonly image: StoredImage; readonly verdict: Verdict }> {
  const { name, policy } = await enter(deps, request);
  const course = beginCourse(deps, request);
  // The Worker starts during the requests to the registry.
  deps.pool.warm(deps.lazy.isOn() ? 'erofs' : 'folder');
  try {
    const admitted = await fetchAndDecide(deps, course, name, policy);
    const image = await traced('unpack', () => unpackAndRecord(deps, admitted, course));
    return { image, verdict: admitted.decided.verdict };
  } catch (thrown) {
    const first = endCourse(course, thrown);
    throw request.signal?.aborted === true ? cancelled(name, request.signal) : pullFailure(first, name);
  } finally {
    await releaseCourse(deps, course);
  }
}

/**
 * Does the same as {@link pullImage} up to the verdict, then makes the decision that a container would need.
 * It uses the policy and the registry as a pull does, with fresh evidence. Fetches no content and records no
 * image; writes its verdicts to the verdict log.
 * @throws PortcullisError the errors of a pull, such as IMAGES_DENIED
 */
export async function tryPull(deps: PullDeps, request: PullRequest): Promise<Verdict> {
  const { name, policy } = await enter(deps, request);
  const signal = request.signal ?? new AbortController().signal;
  try {
    const asked = await resolveAsked(deps, request, name, policy, signal);
    const { dossier, decided } = await decideFresh(
      { ...deps, negativeCache: createNegativeCache() },
      asked,
      signal,
      'try',
    );
    await deps.records.append(decided.log);
    deps.decisions.logged(decided.verdict);
    const question = {
      dossier,
      reference: name.text,
      namespace: request.namespace,
      platform: asked.platform,
    };
    const current = deps.decisions.policy('run image', name.text);
    await deps.decisions.prepare(current, question);
    const { verdict, log } = deps.decisions.again(current, question);
    if (log.length > 0) await deps.records.append(log);
    if (verdict.outcome !== 'admit') throw deps.decisions.refusal(verdict, 'run image');
    return verdict;
  } catch (thrown) {
    throw request.signal?.aborted === true ? cancelled(name, request.signal) : pullFailure(thrown, name);
  }
}

/**
 * Does the same as {@link pullImage} up to the verdict, for content that another runtime fetches. Resolves
 * only with an admitting verdict; the caller records it together with what it allows.
 * @throws PortcullisError the errors of a pull, such as IMAGES_DENIED
 */
export async function verifyReference(deps: VerifyDeps, request: PullRequest): Promise<Verified> {
  const { name, policy } = await enter(deps, request);
  const signal = request.signal ?? new AbortController().signal;
  try {
    const asked = await resolveAsked(deps, request, name, policy, signal);
    return { name, resolved: asked.resolved, ...(await decideFresh(deps, asked, signal)) };
  } catch (thrown) {
    throw request.signal?.aborted === true ? cancelled(name, request.signal) : pullFailure(thrown, name);
  }
}

/**
 * Does the steps that need no registry. @throws PortcullisError when no answer of a registry would admit the
 * image
 */
async function enter(
  deps: VerifyDeps,
  request: PullRequest,
): Promise<{ readonly name: ImageName; readonly policy: TrustPolicy }> {
  const name = parseImageName(request.reference);
  const policy = deps.decisions.policy('pull image', name.text);
  const platform = request.platform ?? deps.platform;
  const early = deps.decisions.unseen(policy, {
    reference: name.text,
    namespace: request.namespace,
    platform,
  });
  if (early === undefined) return { name, policy };
  await deps.records.append(early.log);
  throw deps.decisions.refusal(early.verdict, 'pull image');
}

/** @param ended settles when no document that was fetched for the request is kept for others any more */
async function resolveAsked(
  deps: VerifyDeps,
  request: PullRequest,
  name: ImageName,
  policy: TrustPolicy,
  signal: AbortSignal,
  ended: Promise<unknown> = Promise.resolve(),
): Promise<Asked> {
  const credentials = credentialsFor(name, request.credentials);
  const { registry } = name.reference;
  const places = deps.documents.places(deps.registryClient.repositories(name.reference, credentials), {
    ...{ registry, credentials, ended },
  });
  const platform = request.platform ?? deps.platform;
  const answer = await deps.services.ask({
    policy,
    reference: name.text,
    signal,
    ...(credentials === undefined ? {} : { credentials }),
  });
  const signed = answer && previousAnswer(answer, recordedUnder(deps, name));
  // If a trust service says what the tag means, the answer of the registry does not count.
  const wanted = name.reference.digest === undefined ? (signed?.digest ?? name.wanted) : name.wanted;
  const resolved = await traced('resolve', () =>
    resolveImage(places, wanted, name.text, platform, deps.limits, signal),
  );
  return { name, namespace: request.namespace, platform, policy, resolved, signed, credentials, places };
}

async function fetchAndDecide(
  deps: PullDeps,
  course: Course,
  name: ImageName,
  policy: TrustPolicy,
): Promise<Admitted> {
  const { request, signal, fetches, fail, underWay } = course;
  const asked = await resolveAsked(deps, request, name, policy, signal, course.ended.promise);
  const { resolved, signed, credentials, places, platform } = asked;
  request.onResolved?.(resolved.manifest.layers);
  const absent = absentBlobs(deps, resolved);
  const decided = traced('verify', () => decideFresh(deps, asked, signal)).catch(fail);
  const config = fetchConfig(deps, resolved, platform, signal).catch(fail);
  const origin: BlobOrigin = { reference: name.reference, credentials, places, ordered: resolved.places };
  const fetchAll = (): Promise<void> => traced('fetch', () => fetches.fetch(absent, origin));
  const isWanted = mayBeLazy(deps) && absent.length > 0 && resolved.manifest.artifact === undefined;
  const question = { reference: name.text, namespace: asked.namespace, policy: asked.policy, resolved };
  const index = (
    isWanted
      ? signedIndex(
          { ...question, limits: deps.limits, now: deps.now(), signal, log: deps.log },
          async () => {
            const [, { parsed }] = await Promise.all([decided, config]);
            return parsed.diffIds;
          },
        )
      : Promise.resolve(undefined)
  ).catch(fail);
  // Content that no service has signed is not fetched before the verdict.
  const unsigned = signed !== undefined && signed.digest === undefined;
  const blobs = (
    isWanted
      ? index.then((found) => (found === undefined ? fetchAll() : undefined))
      : unsigned
        ? decided.then(fetchAll)
        : fetchAll()
  ).catch(fail);
  // All have ended before the pull does: nothing continues after a failure.
  underWay.push(decided, config, blobs);
  // Awaited later: the pull may have failed by then.
  blobs.catch(() => undefined);
  const [decision, configuration, chunks] = await Promise.all([decided, config, index]);
  return { name, resolved, origin, ...decision, ...configuration, index: chunks };
}

/** An import has sources that the filler does not have. */
const mayBeLazy = ({ lazy, registryOptions }: PullDeps): boolean =>
  lazy.isOn() && registryOptions !== undefined;

/** @param purpose concurrent pulls share evidence only with pulls of the same purpose */
async function decideFresh(
  deps: VerifyDeps,
  asked: Omit<Asked, 'places'>,
  signal: AbortSignal,
  purpose = 'pull',
): Promise<{ readonly dossier: Dossier; readonly decided: Decided }> {
  const { name, namespace, platform, policy, resolved, signed } = asked;
  const { digest, manifestDigest, places } = resolved;
  // This caller must not get evidence that was fetched with other credentials.
  const key = createHash('sha256')
    .update(
      canonicalJson([
        name.text,
        digest,
        manifestDigest,
        policy.revision,
        asked.credentials,
        signedKey(signed),
        purpose,
      ]),
    )
    .digest('hex');
  const dossier = await deps.gathering.join(key, signal, (shared) =>
    gather({
      ...{
        reference: name.text,
        digest,
        manifestDigest,
        repositories: places,
        policy,
        now: deps.now(),
        signal: shared,
      },
      ...(signed === undefined ? {} : { signed }),
      negativeCache: deps.negativeCache.of(asked.credentials),
      decider: deps.decisions.decider,
    }),
  );
  // The policy that is in force now decides: it may have been reloaded since the pull began.
  const decided = await deps.decisions.decide(
    { dossier, reference: name.text, namespace, platform },
    'pull image',
  );
  if (decided.verdict.outcome === 'admit') return { dossier, decided };
  await deps.records.append(decided.log);
  throw deps.decisions.refusal(decided.verdict, 'pull image');
}

function recordedUnder({ records }: VerifyDeps, { text }: ImageName): Dossier | undefined {
  return records.byName(text)?.names.find(({ name }) => name === text)?.dossier;
}

/** Concurrent pulls share evidence only if the trust services gave them the same answers. */
function signedKey(signed: SignedReference | undefined): unknown {
  return signed?.items.map(({ blobDigest, annotations, problem }) => [
    blobDigest,
    annotations,
    problem ?? '',
  ]);
}

async function fetchConfig(
  deps: PullDeps,
  { manifest, places }: ResolvedImage,
  platform: Platform,
  signal: AbortSignal,
): Promise<{ readonly configBytes: Uint8Array; readonly parsed: ParsedConfig }> {
  const { artifact, config, layers } = manifest;
  const { value } = await firstAnswer(places, config.digest, signal, (place) =>
    place.blobBytes(config, deps.limits.maxConfigBytes, signal),
  );
  if (artifact !== undefined)
    return { configBytes: value, parsed: { config: artifactConfig(artifact.type), diffIds: [] } };
  return { configBytes: value, parsed: parseImageConfig(value, config.digest, layers.length, platform) };
}

/** Runs only after an admitting verdict. */
async function unpackAndRecord(deps: PullDeps, admitted: Admitted, course: Course): Promise<StoredImage> {
  const { signal, fetches } = course;
  const { name, resolved, dossier, decided, configBytes, parsed } = admitted;
  const { verdict } = decided;
  const { config, layers } = resolved.manifest;
  const positions = chainIds(parsed.diffIds);
  if (resolved.manifest.artifact === undefined) {
    await unpackLayers(deps, positions, admitted, course);
  } else {
    const fetchFiles = async (): Promise<void> => {
      await fetches.fetch(layers, admitted.origin);
      await Promise.all(layers.map((layer) => fetches.claim(layer, admitted.origin)));
    };
    course.layers.push(await claimArtifactLayer(deps, resolved, fetches.claims, fetchFiles, signal));
  }
  // A blob may belong to a layer that another pull has recorded meanwhile.
  await Promise.all(course.underWay);
  signal.throwIfAborted();
  await publish(deps, [...fetches.claims.values(), ...course.layers]);
  const rows = course.layers.map((layer) => layer.row());
  // Before they are recorded: a layer that is not guarded must not be found.
  if (admitted.index !== undefined) await deps.lazy.guard(rows, admitted.index, admitted.origin);
  // From here on, nothing is cancelled: the image is recorded next.
  const evidence = {
    digest: resolved.digest,
    manifestDigest: resolved.manifestDigest,
    dossier,
    verdictId: verdict.id,
    unverified: verdict.unverified,
  };
  const image = await deps.records.admit(
    {
      image: {
        id: imageIdOf(resolved),
        manifestDigest: resolved.manifestDigest,
        digest: resolved.digest,
        size: layers.reduce((sum, layer) => sum + layer.size, config.size),
        config: parsed.config,
        layers: rows.map(({ diffId, folder }) => ({ diffId, folder })),
      },
      names: namesOf(name, resolved.digest).map((each) => ({ ...each, ...evidence })),
      layers: rows,
      documents: [
        ...resolved.documents,
        { digest: config.digest, mediaType: config.mediaType, bytes: configBytes } satisfies ImageDocument,
      ],
    },
    decided.log,
    () => {
      for (const layer of course.layers) layer.requirePresent();
    },
  );
  deps.lazy.recorded(rows.map(({ folder }) => folder));
  deps.decisions.logged(verdict);
  deps.log.info(
    {
      image: image.id,
      reference: name.text,
      digest: resolved.digest,
      verdict: verdict.id,
      unverified: verdict.unverified,
      ...(deps.lazy.isOn() && { lazy: admitted.index !== undefined }),
    },
    'image pulled',
  );
  return image;
}

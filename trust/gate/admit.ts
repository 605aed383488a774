import pLimit from 'p-limit';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { asPortcullisError, errorToJson } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import type { EvidenceJudge } from '../evidence/gather-input.ts';
import type { SignedReference } from '../evidence/signed-reference.ts';
import type { DecideInput, Dossier, EvidenceItem, Platform, Verdict } from '../findings/types.ts';
import { gather } from '../gathering/gather.ts';
import { matchRules } from '../policy/matching.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { hostPlatform } from '../registries/resolve-image.ts';
import type { PlatformImage } from '../registries/resolve-image.ts';
import { normaliseReference, ruleNamesImage } from '../requirements/named-images.ts';
import type { NormalisedReference } from '../requirements/named-images.ts';
import type { Requirement, TrustPolicy } from '../requirements/types.ts';
import type { TrustServices } from '../tuf-requirement/trust-services.ts';
import { adviceOf, decisiveCode, lacksAnswer } from '../verdict/advice.ts';
import { decide } from '../verdict/decide.ts';
import { decideUnseen } from '../verdict/decide-unseen.ts';
import { waiversFor } from './apply-waivers.ts';
import { createHostWatch } from './host-watch.ts';
import type { HostWatch } from './host-watch.ts';
import { verifiedLevels } from './provenance.ts';
import type { BuilderLevels } from './provenance.ts';
import { askRegistry } from './registry-answer.ts';
import type { GateDecision, GateImage, GateQuestion, GateResult, UsedEvidence, WaiverNote } from './types.ts';
import { isInForce } from './waivers.ts';
import type { Waiver } from './waivers.ts';

/** Which images to decide about, and by which policy. */
export interface AdmitInput {
  readonly questions: readonly GateQuestion[];
  /** Parts of manifests that were not read, for the reports. */
  readonly unread?: GateResult['unread'];
  readonly policy: TrustPolicy;
  readonly registry: RegistryAccess;
  readonly services?: TrustServices;
  /** `all`: every platform of an index. Empty: the platform of this machine. */
  readonly platforms: readonly Platform[] | 'all';
  /** They let denied images pass until they expire. */
  readonly waivers?: readonly Waiver[];
  /** The build level of each builder, for the levels of admitted images. */
  readonly builders?: BuilderLevels;
  readonly now: Date;
  readonly signal?: AbortSignal;
  /** Keeps answers of registries between runs. Absent: each run asks again. */
  readonly cache?: GateCache;
}

/**
 * Keeps the answers of registries for runs of a service, and decides without blocking it. A question is asked
 * under the signal that the cache gives, because several runs may wait for its answer.
 */
export interface GateCache extends EvidenceJudge {
  /** Which images a reference means at this moment, for the policy and the platforms of the key. */
  resolved<T>(key: string, host: string, ask: (signal?: AbortSignal) => Promise<T>): Promise<T>;
  /** The evidence of a digest, for the rules of the key. */
  evidence(key: string, host: string, ask: (signal?: AbortSignal) => Promise<Dossier>): Promise<Dossier>;
  /** Decides as `decide` does. A service must not be blocked meanwhile, nor by `satisfied`. */
  decide(input: DecideInput): Promise<Verdict>;
  /** The watch over hosts that do not answer, which runs share. */
  watch(): HostWatch;
}

/** Images whose evidence is gathered at the same time, each from up to a few connections. */
const atOnce = 8;

/**
 * Decides about many images. Each reference is resolved once, and the evidence of each digest is gathered and
 * verified once, however many references, containers and namespaces share it. At most a few dossiers are in
 * memory at the same time. An image that cannot be resolved is `undecided` or `failed`, and the others are
 * decided all the same. Results are in the order of the questions.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`; the signal's reason when the caller aborts
 */
export async function admitImages(input: AdmitInput): Promise<GateResult> {
  const asked = merged(input.questions);
  const limit = pLimit(atOnce);
  const watch = input.cache?.watch() ?? createHostWatch();
  const resolved = await Promise.all(
    [...asked.values()].map((one) => limit(() => resolve(one, input, watch))),
  );
  input.signal?.throwIfAborted();
  const images = resolved.flatMap((one) => one.images);
  const groups = grouped(resolved.flatMap((one) => one.targets));
  for (const decided of await Promise.all(groups.map((group) => limit(() => judge(group, input, watch)))))
    append(images, decided);
  input.signal?.throwIfAborted();
  const order = new Map<string, number>();
  for (const [reference, { namespaces }] of asked)
    for (const namespace of namespaces.keys()) order.set(JSON.stringify([reference, namespace]), order.size);
  const placeOf = ({ reference, namespace }: GateImage): number =>
    order.get(JSON.stringify([reference, namespace])) ?? 0;
  images.sort((a, b) => placeOf(a) - placeOf(b));
  return {
    policyRevision: input.policy.revision,
    decidedAt: input.now.toISOString(),
    counts: countsOf(images),
    waivers: notesOf(images, input),
    ...(input.unread === undefined || input.unread.parts.length === 0 ? {} : { unread: input.unread }),
    images,
  };
}

/** Returns the waivers that let no image pass, and why. */
function notesOf(images: readonly GateImage[], { waivers = [], now }: AdmitInput): GateResult['waivers'] {
  const used = new Set(images.flatMap((image) => (image.waivers ?? []).map(({ id }) => id)));
  const note = ({ id, owner, expires, place }: Waiver): WaiverNote => ({ id, owner, expires, place });
  return {
    expired: waivers.filter((waiver) => !isInForce(waiver, now)).map(note),
    unused: waivers.filter((waiver) => isInForce(waiver, now) && !used.has(waiver.id)).map(note),
  };
}

/** Counts the images by decision. */
function countsOf(images: readonly GateImage[]): Readonly<Record<GateDecision, number>> {
  const counts = { admitted: 0, waived: 0, denied: 0, undecided: 0, failed: 0 };
  for (const { decision } of images) counts[decision] += 1;
  return counts;
}

/** One reference, with the places that name it in each namespace. */
interface Asked {
  readonly reference: NormalisedReference;
  readonly namespaces: Map<string, GateImage['places']>;
}

function merged(questions: readonly GateQuestion[]): ReadonlyMap<string, Asked> {
  const asked = new Map<string, Asked>();
  for (const { reference: text, namespace, places } of questions) {
    const reference = normaliseReference(text);
    const known: Asked = asked.get(reference.text) ?? { reference, namespaces: new Map() };
    asked.set(reference.text, known);
    known.namespaces.set(namespace, [...(known.namespaces.get(namespace) ?? []), ...places]);
  }
  return asked;
}

/** One image of one platform under one reference, before its evidence is gathered. */
interface Target {
  readonly asked: Asked;
  readonly namespaces: readonly string[];
  readonly image: PlatformImage;
  readonly repositories: readonly RegistryRepository[];
  readonly signed?: SignedReference;
  /** Targets with the same key have the same evidence. */
  readonly key: string;
}

interface Resolved {
  readonly images: GateImage[];
  readonly targets: readonly Target[];
}

async function resolve(asked: Asked, input: AdmitInput, watch: HostWatch): Promise<Resolved> {
  const { policy, now, signal } = input;
  const { reference } = asked;
  const images: GateImage[] = [];
  const open: string[] = [];
  const platforms = input.platforms.length === 0 ? [hostPlatform()] : input.platforms;
  const [platform = hostPlatform()] = platforms === 'all' ? [] : platforms;
  for (const namespace of asked.namespaces.keys()) {
    const verdict = decideUnseen({ reference: reference.text, namespace, platform, policy, now });
    if (verdict === undefined) open.push(namespace);
    else images.push(judged(asked, verdict, policy));
  }
  if (open.length === 0) return { images, targets: [] };
  try {
    const answer = await watch.ask(reference.registry, () =>
      kept(input, resolveKey(input, reference), reference.registry, (signal) =>
        askRegistry(reference.text, input, platforms, signal),
      ),
    );
    const targets = answer.found.map((image): Target => ({
      asked,
      namespaces: open,
      image,
      repositories: answer.repositories,
      ...(answer.signed === undefined ? {} : { signed: answer.signed }),
      key: evidenceKey(reference, image, policy),
    }));
    return { images, targets };
  } catch (thrown) {
    signal?.throwIfAborted();
    append(
      images,
      open.map((namespace) => unanswered(asked, namespace, thrown)),
    );
    return { images, targets: [] };
  }
}

function kept<T>(
  { cache, signal }: AdmitInput,
  key: string,
  host: string,
  ask: (signal?: AbortSignal) => Promise<T>,
): Promise<T> {
  return cache === undefined ? ask(signal) : cache.resolved(key, host, ask);
}

/** A trust service is asked by the rules of one policy. */
function resolveKey({ policy, platforms }: AdmitInput, { text }: NormalisedReference): string {
  return JSON.stringify([policy.revision, text, platforms]);
}

/**
 * Names the evidence of an image: what a registry has beside its digests, for the rules that name the image.
 * A trust service speaks about one tag, so such evidence is not shared.
 */
function evidenceKey(reference: NormalisedReference, image: PlatformImage, policy: TrustPolicy): string {
  const rules = policy.rules.filter((rule) => ruleNamesImage(rule, reference));
  const tagged = rules.some(({ require }) => require !== undefined && asksService(require));
  return JSON.stringify([
    reference.registry,
    reference.repository,
    image.digest,
    image.manifestDigest,
    // Names may be equal: two files of one name, or two rules in one line.
    rules.map((rule) => policy.rules.indexOf(rule)),
    tagged ? reference.text : '',
  ]);
}

function asksService(requirement: Requirement): boolean {
  return 'of' in requirement ? requirement.of.some(asksService) : requirement.kind === 'tuf';
}

function grouped(targets: readonly Target[]): readonly (readonly Target[])[] {
  return [...Map.groupBy(targets, ({ key }) => key).values()];
}

/** Decides every question of a group. A registry that serves no evidence is not asked again and again. */
async function judge(group: readonly Target[], input: AdmitInput, watch: HostWatch): Promise<GateImage[]> {
  const [first] = group;
  if (first === undefined) return [];
  const host = first.asked.reference.registry;
  try {
    return await watch.ask(host, () => decideGroup(first, group, input), silence);
  } catch (thrown) {
    input.signal?.throwIfAborted();
    return group.flatMap(({ asked, namespaces }) =>
      namespaces.map((namespace) => unanswered(asked, namespace, thrown)),
    );
  }
}

function silence(images: readonly GateImage[]): string | undefined {
  return images.every(({ verdict }) => verdict !== undefined && lacksAnswer(verdict))
    ? 'evidence could not be fetched'
    : undefined;
}

/** Gathers the evidence of a group once. The dossier is released with the last decision. */
async function decideGroup(
  { asked: { reference: named }, image, repositories, signed, key }: Target,
  group: readonly Target[],
  input: AdmitInput,
): Promise<GateImage[]> {
  const { policy, now, cache } = input;
  const ask = (signal?: AbortSignal): Promise<Dossier> =>
    gather({
      reference: named.text,
      digest: image.digest,
      manifestDigest: image.manifestDigest,
      repositories,
      policy,
      now,
      ...(signed === undefined ? {} : { signed }),
      ...(signal === undefined ? {} : { signal }),
      ...(cache === undefined ? {} : { decider: cache }),
    });
  const dossier = await (cache === undefined
    ? ask(input.signal)
    : cache.evidence(JSON.stringify([policy.revision, key]), named.registry, ask));
  const places = group.flatMap((target) => target.namespaces.map((namespace) => ({ ...target, namespace })));
  return Promise.all(
    places.map(async ({ asked, namespace, image: { platform, partial } }) => {
      const reference = asked.reference.text;
      const question = { dossier, reference, namespace, platform, policy, now };
      const verdict = cache === undefined ? decide(question) : await cache.decide(question);
      const image: GateImage = {
        ...judged(asked, verdict, policy),
        ...(partial === undefined ? {} : { partial }),
        evidence: evidenceOf(dossier),
      };
      if (verdict.outcome === 'deny') return waived(image, dossier, asked, input);
      if (verdict.outcome !== 'admit') return image;
      const { requiring } = matchRules(policy, asked.reference, namespace);
      const context = { now, reference };
      return { ...image, levels: verifiedLevels(requiring, dossier, context, input.builders ?? new Map()) };
    }),
  );
}

/** Returns a denied image, or lets it pass by the waivers that are in force. */
function waived(image: GateImage, dossier: Dossier, { reference }: Asked, input: AdmitInput): GateImage {
  const { policy, now, waivers = [] } = input;
  const { namespace } = image;
  const inForce = waivers.filter((waiver) => isInForce(waiver, now));
  const applied = waiversFor({ reference, namespace, dossier, policy, now }, inForce);
  return applied.length === 0 ? image : { ...image, decision: 'waived', waivers: applied };
}

/** Returns the signatures and attestations of a dossier. Answers about revocation are not attestations. */
function evidenceOf({ items, reference }: Dossier): readonly UsedEvidence[] {
  const { registry, repository } = normaliseReference(reference);
  return items
    .filter(({ kind, blobDigest }) => attesting.includes(kind) && blobDigest.startsWith('sha256:'))
    .map(({ manifestDigest, blobDigest }) => ({
      uri: `oci://${registry}/${repository}${manifestDigest === '' ? '' : `@${manifestDigest}`}`,
      digest: blobDigest,
    }));
}

const attesting: readonly EvidenceItem['kind'][] = [
  'attestation',
  'cosign-simple-signing',
  'gpg-simple-signing',
  'notation-signature',
  'sigstore-bundle',
];

const decisions = { admit: 'admitted', deny: 'denied', undecided: 'undecided' } as const;

function judged(asked: Asked, verdict: Verdict, policy: TrustPolicy): GateImage {
  const { namespace, platform, outcome } = verdict;
  const { os, architecture, variant } = platform;
  const rule = outcome === 'admit' ? undefined : refusingRule(verdict, asked.reference, policy);
  return {
    reference: asked.reference.text,
    namespace,
    platform: [os, architecture, ...(variant === undefined ? [] : [variant])].join('/'),
    ...(verdict.digest === '' ? {} : { digest: verdict.digest, manifestDigest: verdict.manifestDigest }),
    decision: decisions[outcome],
    code: decisiveCode(verdict),
    ...(outcome === 'admit' ? {} : { advice: adviceOf(verdict) }),
    ...(rule === undefined ? {} : { rule }),
    verdict,
    places: asked.namespaces.get(namespace) ?? [],
  };
}

/** Returns the first matching rule whose refusal is among the reasons. */
function refusingRule(
  { reasons, namespace, digest, manifestDigest }: Verdict,
  reference: NormalisedReference,
  policy: TrustPolicy,
): string | undefined {
  const refusals: string[] = [];
  const pending = [reasons];
  for (let reason = pending.pop(); reason !== undefined; reason = pending.pop()) {
    if (!reason.counted && reason.code !== 'TRUST_RULE_OTHER') refusals.push(reason.text);
    append(pending, reason.children ?? []);
  }
  const { requiring, unverified } = matchRules(policy, reference, namespace, [digest, manifestDigest]);
  return [...requiring, ...unverified].find(({ name }) =>
    refusals.some((text) => text.startsWith(`rule ${name} `)),
  )?.name;
}

/** Kinds of failures after which the same question may get an answer later. */
const passing: readonly PortcullisError['kind'][] = [
  'unavailable',
  'deadline',
  'denied',
  'undecided',
  'exhausted',
];

function unanswered({ reference, namespaces }: Asked, namespace: string, thrown: unknown): GateImage {
  const error = asPortcullisError(thrown, {
    code: 'TRUST_GATE_FAILED',
    kind: 'internal',
    attempted: 'decide about image',
    on: reference.text,
    fix: 'report this',
  });
  return {
    reference: reference.text,
    namespace,
    decision: passing.includes(error.kind) ? 'undecided' : 'failed',
    code: error.code,
    advice: error.failure.fix,
    error: errorToJson(error),
    places: namespaces.get(namespace) ?? [],
  };
}

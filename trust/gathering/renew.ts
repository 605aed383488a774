import { smallest } from '../../base/lists/index.ts';
import { normaliseReference, ruleNamesImage } from '../requirements/named-images.ts';
import type { SignedReference } from '../evidence/signed-reference.ts';
import type { TrustServices } from '../tuf-requirement/trust-services.ts';
import type { Dossier, EvidenceItem } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { createCollection } from '../evidence/collection.ts';
import type {
  Collector,
  FactAnswers,
  FactsStanding,
  GatheringContext,
  RenewableFacts,
} from '../evidence/collector.ts';
import { collectorsFor } from './collectors.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { wantedBy } from './gather.ts';
import { defaultLimits } from '../evidence/limits.ts';

/** The evidence to fetch again, the names and policy that it is for, and the time limit. */
export interface RenewInput {
  readonly dossier: Dossier;
  /** Normalised names by which the image is decided about. */
  readonly references: readonly string[];
  readonly policy: TrustPolicy;
  readonly now: Date;
  /** The services that are asked for the meaning of a tag, where a rule requires it. */
  readonly services?: TrustServices;
  /** Answers that renewals at the same time share. */
  readonly answers?: FactAnswers;
  /** Limit for all requests together. */
  readonly milliseconds?: number;
  readonly signal?: AbortSignal;
}

/** The status of the facts in a dossier that expire by themselves, such as revocation answers. */
export interface EvidenceStanding {
  /** When the first of them expires; absent when none expires. */
  readonly until?: Date;
  /** Whether a fact that the policy needs is absent or has expired. */
  readonly missing: boolean;
}

/**
 * Returns the status of the evidence at `now` under a policy: when the first fact that it needs expires.
 * Makes no request.
 * @returns undefined when the policy needs no fact that expires by itself
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE` when a name is not a valid reference
 */
export async function evidenceStanding(
  input: Omit<RenewInput, 'answers' | 'services' | 'signal' | 'milliseconds'>,
): Promise<EvidenceStanding | undefined> {
  const opened = await openRenewal(input, input.dossier.items);
  try {
    const standings = standingsOf(opened);
    if (standings.length === 0) return undefined;
    const ends = standings.flatMap(({ until }) => (until === undefined ? [] : [until]));
    return {
      missing: standings.some(({ status }) => status === 'missing'),
      ...(ends.length === 0 ? {} : { until: new Date(smallest(ends)) }),
    };
  } finally {
    opened.context.collection.close();
  }
}

/**
 * Fetches these facts again. Nothing that needs a registry is fetched: the signatures stay as they were
 * gathered. The new dossier replaces the old one only when no valid fact gets worse and some fact is newer
 * (or refuted), or when a service that counts versions has published something newer. An attacker who can
 * silence a responder, or repeat its older answers, therefore changes nothing before the present answers
 * expire.
 * @returns undefined when nothing newer was found
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE` when a name is not a valid reference
 */
export async function renewEvidence(input: RenewInput): Promise<Dossier | undefined> {
  const { dossier, now } = input;
  const before = await openRenewal(input, dossier.items);
  const kinds = new Set(before.renewable.flatMap(({ facts }) => facts.kinds));
  const { services, policy, signal } = input;
  const question = { policy, reference: dossier.reference, ...(signal === undefined ? {} : { signal }) };
  const asked = await openRenewal(
    input,
    dossier.items.filter(({ kind }) => !kinds.has(kind)),
    kinds.has('tuf-metadata') ? await services?.ask(question) : undefined,
  );
  let merged: Renewal | undefined;
  try {
    for (const { collector } of asked.renewable) await collector.complete?.(asked.context);
    const fresh = asked.context.collection.items();
    merged = await openRenewal(input, mergedItems(dossier.items, fresh, before.renewable));
    const isNews = before.renewable.some(({ facts }) => facts.news?.(dossier.items, fresh) === true);
    if (!isNews && !isBetter(standingsOf(before), standingsOf(merged))) return undefined;
    const { version: _version, id: _id, ...parts } = dossier;
    return sealDossier({ ...parts, items: merged.context.collection.items(), gatheredAt: now.toISOString() });
  } finally {
    for (const renewal of [before, asked, merged]) renewal?.context.collection.close();
  }
}

interface Renewal {
  readonly context: GatheringContext;
  readonly renewable: readonly { readonly collector: Collector; readonly facts: RenewableFacts }[];
}

/** Opens a gathering without a registry that already contains some items. */
async function openRenewal(
  input: RenewInput,
  items: readonly EvidenceItem[],
  signed?: SignedReference,
): Promise<Renewal> {
  const { dossier, policy, now, answers, signal, milliseconds = defaultLimits.milliseconds } = input;
  const names = input.references.map(normaliseReference);
  const wanted = wantedBy(policy.rules.filter((rule) => names.some((name) => ruleNamesImage(rule, name))));
  const collectors = await collectorsFor(wanted);
  const collection = createCollection({ ...defaultLimits, milliseconds }, signal);
  for (const item of items) {
    // Compressed items do not count: they had a limit of their own.
    if (item.packed === undefined) collection.reserve(item.bytes?.length ?? 0, item.foundBy);
    collection.add(item);
  }
  const { reference, digest, manifestDigest } = dossier;
  return {
    context: {
      input: {
        reference,
        digest,
        manifestDigest,
        repositories: [],
        policy,
        now,
        ...(signed === undefined ? {} : { signed }),
      },
      wanted,
      collection,
      ...(answers === undefined ? {} : { answers }),
    },
    renewable: collectors.flatMap((collector) =>
      collector.renewable === undefined ? [] : [{ collector, facts: collector.renewable }],
    ),
  };
}

function standingsOf({ renewable, context }: Renewal): readonly FactsStanding[] {
  return renewable.flatMap(({ facts }) => facts.standing(context));
}

/** Merges items. A fact that could not be fetched again keeps its old item. */
function mergedItems(
  old: readonly EvidenceItem[],
  fresh: readonly EvidenceItem[],
  renewable: Renewal['renewable'],
): readonly EvidenceItem[] {
  const keyOf = (item: EvidenceItem): string | undefined =>
    renewable.find(({ facts }) => facts.kinds.includes(item.kind))?.facts.keyOf(item);
  const items = new Map<string, EvidenceItem>();
  const kept: EvidenceItem[] = [];
  const isIdle = (item: EvidenceItem): boolean =>
    renewable.some(({ facts }) => facts.kinds.includes(item.kind) && facts.idle?.(item, old) === true);
  const existing = old.filter(
    (item) =>
      !renewable.some(({ facts }) => facts.kinds.includes(item.kind) && facts.supersedes?.(item, fresh)),
  );
  for (const item of [...existing, ...fresh.filter((one) => keyOf(one) !== undefined && !isIdle(one))]) {
    const key = keyOf(item);
    if (key === undefined) kept.push(item);
    else if (item.problem === undefined || items.get(key)?.problem !== undefined || !items.has(key))
      items.set(key, item);
  }
  return [...kept, ...items.values()];
}

function isBetter(before: readonly FactsStanding[], after: readonly FactsStanding[]): boolean {
  const pairs = after.map((one, index) => ({ now: one, was: before[index] }));
  // A refuted fact is news, whatever else could not be fetched.
  if (pairs.some(({ now, was }) => now.status === 'refuted' && was?.status !== 'refuted')) return true;
  if (pairs.some(({ now, was }) => rank(now) < rank(was))) return false;
  return pairs.some(({ now, was }) => rank(now) > rank(was));
}

/** Ranks a fact. A definite no ranks above everything that can expire. */
function rank(existing: FactsStanding | undefined): number {
  if (existing === undefined || existing.status === 'missing') return 0;
  return existing.status === 'refuted' ? Number.POSITIVE_INFINITY : (existing.until ?? Number.MAX_VALUE);
}

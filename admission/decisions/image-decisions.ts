import { LRUCache } from 'lru-cache';
import { parseReference } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import { admitImages } from '../../trust/gate/index.ts';
import type { GateImage } from '../../trust/gate/index.ts';
import type { Platform, RegistryAccess, TrustPolicy, TrustServices } from '../../trust/index.ts';
import { createDecider } from '../../trust/verdict/index.ts';
import { createAnswerCache, lateError, usualLimits } from './answer-cache.ts';
import type { CacheLimits } from './answer-cache.ts';
import { createFairTurns } from './fair-turns.ts';

/** The decisions about one image: one for each platform. */
export type ImageDecision = readonly GateImage[];

/** How a decision was found: kept, in progress for another review, or asked for. */
export type DecisionSource = 'hit' | 'inflight' | 'miss';

export interface ImageQuestion {
  readonly reference: string;
  readonly namespace: string;
  /** The party that asks. It does not change the answer. */
  readonly party: string;
}

/** Decides about images with the code of the node. Valid decisions are kept in memory. */
export interface ImageDecisions {
  /**
   * An image that cannot be decided about is `undecided` or `failed`.
   * @param found called with the source of the decision
   * @throws PortcullisError ADMISSION_REGISTRY_LATE when the question waited for its turn too long;
   * ADMISSION_NO_DECISION
   */
  decide(
    policy: TrustPolicy,
    question: ImageQuestion,
    found?: (source: DecisionSource) => void,
  ): Promise<ImageDecision>;
  close(): Promise<void>;
}

export interface DecisionOptions {
  readonly registry: RegistryAccess;
  readonly services?: TrustServices;
  readonly platforms: readonly Platform[] | 'all';
  readonly limits?: CacheLimits;
  readonly now?: () => Date;
}

interface Asked {
  readonly policy: TrustPolicy;
  readonly question: ImageQuestion;
}

/** How long decisions are kept, in ms. A new policy has other keys, and takes effect at once. */
const kept = { admitted: 60_000, admittedByTag: 10_000, denied: 5_000, undecided: 1_000 };
const mostBytes = 64 * 1024 * 1024;

/** Creates the decisions of one replica. The caller must close them. */
export function createImageDecisions(options: DecisionOptions): ImageDecisions {
  const { registry, services, platforms, limits = usualLimits, now = () => new Date() } = options;
  const decider = createDecider();
  const cache = createAnswerCache(decider, limits);
  const turns = createFairTurns({
    atOnce: limits.atOnce,
    atOnceOfParty: limits.atOnceOfParty,
    reserved: Math.floor(limits.atOnce / 4),
  });

  /** Waits for a turn of the namespace and of the party. A question whose turn comes late is not asked. */
  function inTurn<T>(question: ImageQuestion, ask: () => Promise<T>): Promise<T> {
    const { reference } = question;
    const begun = performance.now();
    return turns.run(partiesOf(question), async () => {
      if (performance.now() - begun > limits.askMs)
        throw lateError(parseReference(reference).registry, limits.askMs);
      return ask();
    });
  }

  const answers = new LRUCache<string, ImageDecision, Asked>({
    maxSize: mostBytes,
    sizeCalculation: (images) => JSON.stringify(images).length,
    fetchMethod: async (_key, _stale, { options: fetched, context: { policy, question } }) => {
      const { images } = await inTurn(question, () =>
        admitImages({
          questions: [{ reference: question.reference, namespace: question.namespace, places: [] }],
          ...{ policy, registry, platforms, cache: cache.of(partiesOf(question)), now: now() },
          ...(services === undefined ? {} : { services }),
        }),
      );
      fetched.ttl = lifetimeOf(images, now().getTime());
      return images;
    },
  });
  return {
    async decide(policy, { reference, namespace, party }, found) {
      const key = JSON.stringify([policy.revision, namespace, reference]);
      const status: LRUCache.Status<string, ImageDecision, Asked> = {};
      const answer = answers.fetch(key, {
        context: { policy, question: { reference, namespace, party } },
        status,
      });
      found?.(status.fetch === 'hit' || status.fetch === 'inflight' ? status.fetch : 'miss');
      const images = await answer;
      if (images === undefined || images.length === 0) throw noAnswer(reference);
      return images;
    },
    close: () => decider.close(),
  };
}

/** A question counts for the namespace of the object, and for the party that asks. */
const partiesOf = ({ namespace, party }: ImageQuestion): readonly string[] => [
  `namespace ${namespace}`,
  party,
];

/** Returns how long a decision is valid, in ms, at least 1. */
function lifetimeOf(images: ImageDecision, now: number): number {
  const times = images.flatMap(({ decision, reference, verdict }) => {
    const usual =
      decision === 'admitted'
        ? kept[reference.includes('@') ? 'admitted' : 'admittedByTag']
        : kept[decision === 'denied' ? 'denied' : 'undecided'];
    const until = verdict?.validUntil === undefined ? Infinity : Date.parse(verdict.validUntil) - now;
    return [usual, Number.isNaN(until) ? 0 : until];
  });
  return Math.max(1, smallest(times));
}

function noAnswer(reference: string): PortcullisError {
  return new PortcullisError({
    code: 'ADMISSION_NO_DECISION',
    kind: 'internal',
    attempted: 'decide about image',
    on: reference,
    why: 'the gate returned no decision',
    fix: 'report this',
  });
}

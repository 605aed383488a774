import { LRUCache } from 'lru-cache';
import { PortcullisError } from '../../base/errors/index.ts';
import { createHostWatch } from '../../trust/gate/index.ts';
import type { GateCache, HostWatch } from '../../trust/gate/index.ts';
import type { Dossier } from '../../trust/index.ts';
import { isDear } from '../../trust/verdict/index.ts';
import type { Decider } from '../../trust/verdict/index.ts';
import { createFairTurns } from './fair-turns.ts';
import type { FairTurns } from './fair-turns.ts';

/** How long answers are kept, and how many questions are asked at the same time. Times in ms. */
export interface CacheLimits {
  /** A tag may be moved to another digest at any time. */
  readonly resolvedMs: number;
  /** Short, because a missing signature may be added. An admitted image is kept longer, with its verdict. */
  readonly evidenceMs: number;
  /**
   * The time limit of one question, including the wait for its turn. A question continues when no review
   * waits for it any more, so that the next review finds its answer.
   */
  readonly askMs: number;
  readonly atOnce: number;
  /**
   * Less than `atOnce`, so that a registry that does not answer delays only its own questions. A quarter of
   * them are for parties that ask the registry nothing else, because it may be slow for some images only.
   */
  readonly atOnceOfHost: number;
  /**
   * Images of one namespace, or of one user, and their questions. Less than `atOnce`, so that a user who
   * names many silent hosts delays only their own reviews.
   */
  readonly atOnceOfParty: number;
  /** The time after which a host that did not answer a party is asked again for this party. */
  readonly silenceMs: number;
  /** Bytes of evidence that are kept. */
  readonly evidenceBytes: number;
}

export const usualLimits: CacheLimits = {
  resolvedMs: 10_000,
  evidenceMs: 5_000,
  askMs: 20_000,
  atOnce: 64,
  atOnceOfHost: 16,
  atOnceOfParty: 16,
  silenceMs: 5_000,
  evidenceBytes: 128 * 1024 * 1024,
};

/** Requests that one question has in progress at one time, at most (GatherLimits). */
const requestsOfQuestion = 8;
/**
 * Connections to one registry: so many that no request of a question in progress waits for another one. One
 * mirror may serve the images of all hosts, and each of these hosts has places of its own.
 */
export const registryConnections = usualLimits.atOnce * requestsOfQuestion;

const mostResolved = 20_000;

/**
 * Expensive decisions that are made at the same time, for which the decider has two threads. The last place
 * is for a party that has none: an image with many platforms and signatures keeps a thread busy for seconds.
 */
const decisionsAtOnce = { atOnce: 4, atOnceOfParty: 3, reserved: 1 };

/** Parties whose silent hosts are remembered. */
const mostWatches = 10_000;

interface Question {
  readonly key: string;
  readonly host: string;
  readonly ask: (signal?: AbortSignal) => Promise<unknown>;
}

/** Answers of one kind. */
interface Answers {
  readonly kept: LRUCache<string, object>;
  /** Questions whose turn has come. One that waits behind others of its party must delay no other party. */
  readonly asking: Map<string, Promise<object>>;
}

/** The memory of one replica: which digest a reference means, and the evidence of each digest. */
export interface AnswerCache {
  /**
   * Returns the cache for the questions of these parties. Answers are shared. The places of questions and
   * the watch over silent hosts are not: a registry may be silent only about the images that a party names.
   */
  of(parties: readonly string[]): GateCache;
}

/**
 * Creates the memory of one replica. Equal questions at the same time are asked once. Failures are not kept.
 */
export function createAnswerCache(
  decider: Pick<Decider, 'decide' | 'satisfied'>,
  limits: CacheLimits = usualLimits,
): AnswerCache {
  const { atOnce, atOnceOfHost, atOnceOfParty } = limits;
  const overall = createFairTurns({ atOnce, atOnceOfParty, reserved: Math.floor(atOnce / 4) });
  const deciding = createFairTurns(decisionsAtOnce);
  const hosts = new Map<string, { readonly turns: FairTurns; questions: number }>();
  const watches = new LRUCache<string, HostWatch>({ max: mostWatches, ttl: limits.silenceMs });
  const resolved: Answers = {
    kept: new LRUCache<string, object>({ max: mostResolved, ttl: limits.resolvedMs }),
    asking: new Map(),
  };
  const evidence: Answers = {
    kept: new LRUCache<string, object>({
      maxSize: limits.evidenceBytes,
      sizeCalculation: (dossier) => sizeOf(dossier as Dossier),
      ttl: limits.evidenceMs,
      ttlAutopurge: true,
    }),
    asking: new Map(),
  };

  async function inTurn<T>(host: string, parties: readonly string[], ask: () => Promise<T>): Promise<T> {
    const reserved = Math.floor(atOnceOfHost / 4);
    const ofHost = hosts.get(host) ?? {
      turns: createFairTurns({ atOnce: atOnceOfHost, atOnceOfParty: atOnceOfHost - reserved, reserved }),
      questions: 0,
    };
    hosts.set(host, ofHost);
    ofHost.questions += 1;
    try {
      return await ofHost.turns.run(parties, () => overall.run(parties, ask));
    } finally {
      ofHost.questions -= 1;
      if (ofHost.questions === 0) hosts.delete(host);
    }
  }

  /** Most decisions need no thread. They do not wait: one user creates the pods of all namespaces. */
  function inThread<T>(
    parties: readonly string[],
    { items }: Pick<Dossier, 'items'>,
    ask: () => Promise<T>,
  ): Promise<T> {
    return isDear(items) ? deciding.run(parties, ask) : ask();
  }

  /** Returns the kept answer, the answer to the same question of another review, or asks. */
  async function answer(
    { kept, asking }: Answers,
    parties: readonly string[],
    { key, host, ask }: Question,
  ): Promise<object> {
    const known = (): Promise<object> | undefined => {
      const found = kept.get(key);
      return found === undefined ? asking.get(key) : Promise.resolve(found);
    };
    const found = known();
    if (found !== undefined) return found;
    const signal = AbortSignal.timeout(limits.askMs);
    const begun = performance.now();
    // Other reviews may wait for this answer: the error must be the same for them.
    const askNow = async (waited: number): Promise<object> => {
      try {
        const given = (await ask(signal)) as object;
        kept.set(key, given);
        return given;
      } catch (error) {
        throw signal.aborted ? lateError(host, limits.askMs, waited) : error;
      }
    };
    return inTurn(host, parties, () => {
      const meanwhile = known();
      if (meanwhile !== undefined) return meanwhile;
      const waited = performance.now() - begun;
      if (signal.aborted || waited >= limits.askMs) throw lateError(host, limits.askMs);
      const pending = askNow(waited).finally(() => asking.delete(key));
      asking.set(key, pending);
      return pending;
    });
  }

  return {
    of: (parties) => ({
      resolved: <T>(key: string, host: string, ask: (signal?: AbortSignal) => Promise<T>) =>
        answer(resolved, parties, { key, host, ask }) as Promise<T>,
      evidence: (key, host, ask) => answer(evidence, parties, { key, host, ask }) as Promise<Dossier>,
      decide: (input) => inThread(parties, input.dossier, () => decider.decide(input)),
      satisfied: (policy, evidence, context) =>
        inThread(parties, evidence, () => decider.satisfied(policy, evidence, context)),
      watch() {
        const party = JSON.stringify(parties);
        const watch = watches.get(party) ?? createHostWatch();
        if (!watches.has(party)) watches.set(party, watch);
        return watch;
      },
    }),
  };
}

/** Annotations count too: a registry may put as much into them as into the signatures. */
function sizeOf({ items, unreachable }: Dossier): number {
  return items.reduce(
    (sum, { bytes = '', subjectBytes = '', annotations, problem = '' }) =>
      sum + bytes.length + subjectBytes.length + JSON.stringify(annotations).length + problem.length + 2048,
    2048 + JSON.stringify(unreachable).length,
  );
}

/**
 * Returns the error of a question without an answer in time.
 * @param ms the time limit, and `waited` how much of it passed before the registry was asked; undefined if it
 * was not
 */
export function lateError(host: string, ms: number, waited?: number): PortcullisError {
  const [limit, wait] = [ms, waited ?? 0].map((time) => Math.round(time / 100) / 10) as [number, number];
  return new PortcullisError({
    code: 'ADMISSION_REGISTRY_LATE',
    kind: 'deadline',
    attempted: 'ask registry',
    on: host,
    why:
      waited === undefined
        ? `it was not asked, because earlier questions to registries took longer than ${limit} s`
        : `the registry did not answer within ${Math.round((limit - wait) * 10) / 10} s${wait < 1 ? '' : `, after a wait of ${wait} s`}`,
    fix:
      waited === undefined
        ? 'try again; if this error repeats, check that the webhook can reach every registry that reviews name'
        : 'check that the webhook can reach the registry',
  });
}

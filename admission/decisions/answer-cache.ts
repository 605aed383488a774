import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import type { LimitFunction } from 'p-limit';
import { PortcullisError } from '../../base/errors/index.ts';
import { createHostWatch } from '../../trust/gate/index.ts';
import type { GateCache, HostWatch } from '../../trust/gate/index.ts';
import type { Dossier } from '../../trust/index.ts';
import type { Decider } from '../../trust/verdict/index.ts';

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
  /** Less than `atOnce`, so that a registry that does not answer delays only its own questions. */
  readonly atOnceOfHost: number;
  /**
   * Images of one namespace, or of one user. Less than `atOnce`, so that a user who names many silent hosts
   * delays only their own reviews.
   */
  readonly atOnceOfParty: number;
  /** The time after which a host that did not answer is asked again. */
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

const mostResolved = 20_000;

interface Question {
  readonly host: string;
  readonly ask: (signal?: AbortSignal) => Promise<unknown>;
}

/**
 * Creates the memory of one replica: which digest a reference means, and the evidence of each digest. Equal
 * questions at the same time are asked once. Failures are not kept.
 */
export function createAnswerCache(
  decider: Pick<Decider, 'decide'>,
  limits: CacheLimits = usualLimits,
): GateCache {
  const overall = pLimit(limits.atOnce);
  const hosts = new Map<string, LimitFunction>();
  let watch: HostWatch = createHostWatch();
  let watchUntil = 0;

  async function ask<T>({
    host,
    ask,
  }: {
    host: string;
    ask: (signal?: AbortSignal) => Promise<T>;
  }): Promise<T> {
    const signal = AbortSignal.timeout(limits.askMs);
    const begun = performance.now();
    let waited: number | undefined;
    const ofHost = hosts.get(host) ?? pLimit(limits.atOnceOfHost);
    hosts.set(host, ofHost);
    try {
      return await ofHost(() =>
        overall(() => {
          signal.throwIfAborted();
          waited = performance.now() - begun;
          return ask(signal);
        }),
      );
    } catch (error) {
      if (signal.aborted) throw lateError(host, limits.askMs, waited);
      throw error;
    } finally {
      if (ofHost.activeCount + ofHost.pendingCount === 0) hosts.delete(host);
    }
  }

  const resolved = new LRUCache<string, object, Question>({
    max: mostResolved,
    ttl: limits.resolvedMs,
    fetchMethod: async (_key, _stale, { context }) => (await ask(context)) as object,
  });
  const evidence = new LRUCache<string, Dossier, Question>({
    maxSize: limits.evidenceBytes,
    sizeCalculation: sizeOf,
    ttl: limits.evidenceMs,
    ttlAutopurge: true,
    fetchMethod: async (_key, _stale, { context }) => (await ask(context)) as Dossier,
  });
  return {
    resolved: <T>(key: string, host: string, question: (signal?: AbortSignal) => Promise<T>) =>
      resolved.fetch(key, { context: { host, ask: question } }) as Promise<T>,
    evidence: (key, host, question) =>
      evidence.fetch(key, { context: { host, ask: question } }) as Promise<Dossier>,
    decide: (input) => decider.decide(input),
    watch() {
      const now = performance.now();
      if (now >= watchUntil) [watch, watchUntil] = [createHostWatch(), now + limits.silenceMs];
      return watch;
    },
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

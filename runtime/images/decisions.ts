import { LRUCache } from 'lru-cache';
import type { Database, Statement } from '../../base/storage/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { lackingParts, withParts } from '../../trust/evidence/index.ts';
import { adviceOf, decide, explainReason } from '../../trust/index.ts';
import type { Dossier, Platform, Reason, TrustPolicy, Verdict } from '../../trust/index.ts';
import { verdictLogStatements } from '../../trust/verdict-log/index.ts';
import type { VerdictLog } from '../../trust/verdict-log/index.ts';
import { createDecider, decideUnseen, unseenDossier, verdictCacheKey } from '../../trust/verdict/index.ts';
import type { Decider } from '../../trust/verdict/index.ts';
import { imageError } from './limits/failures.ts';

/** One question to the policy. */
export interface Question {
  readonly dossier: Dossier;
  /** Normalised. */
  readonly reference: string;
  readonly namespace: string;
  readonly platform: Platform;
}

/** A verdict, and the log rows that must be durable before it is used. */
export interface Decided {
  readonly verdict: Verdict;
  /**
   * To be written in the transaction of the change that the verdict allows; empty when the verdict is in the
   * log already.
   */
  readonly log: readonly Statement[];
}

export interface Decisions {
  /** Returns the policy in force. Throws IMAGES_NO_POLICY when there is none. */
  policy(attempted: string, on: string): TrustPolicy;
  /**
   * Returns a verdict that no evidence could change, before anything is fetched; undefined when evidence
   * could admit.
   */
  unseen(policy: TrustPolicy, question: Omit<Question, 'dossier'>): Decided | undefined;
  /**
   * Decides again by the policy in force; expensive work runs off the main thread. @throws PortcullisError
   * `TRUST_DECIDER_FAILED`, IMAGES_NO_POLICY
   */
  decide(question: Question, attempted: string): Promise<Decided>;
  /**
   * Prepares for {@link Decisions.again}: unless the verdict is known, computes it; expensive work runs off
   * the main thread.
   */
  prepare(policy: TrustPolicy, question: Question): Promise<void>;
  /**
   * Returns the verdict on a recorded image. The same inputs give the verdict that was given before, as long
   * as it is valid.
   */
  again(policy: TrustPolicy, question: Question): Decided;
  /** Returns the verdict by a policy that need not be in force. Nothing is logged. */
  foresee(policy: TrustPolicy, question: Question): Promise<Verdict>;
  /** Returns the error for a verdict other than admit, with the whole tree of reasons. */
  refusal(verdict: Verdict, attempted: string): PortcullisError;
  /** Reports that the verdict's log statements are durable. */
  logged(verdict: Verdict): void;
  /** Decides off the main thread. */
  readonly decider: Pick<Decider, 'satisfied'>;
  close(): Promise<void>;
}

/**
 * Maximum size in memory of the cached verdicts. A verdict of a usual policy has some kilobytes. The
 * publisher of an image can make its verdict larger, by at most 4 KiB for each of 64 signatures and each key
 * of the policy.
 */
const verdictBytes = 64 * 1024 * 1024;
/** Maximum number of verdicts whose ids are known to be in the log. An id has about 100 bytes. */
const mostInLog = 4096;
/** Maximum size in memory of the parts that dossiers store separately. */
const partsBytes = 16 * 1024 * 1024;
/** Containers that start at about the same time share these parts. */
const partsMs = 60_000;

/** Where `portcullis verdicts` looks for the log of verdicts without `--root`. */
const usualRoot = '/var/lib/portcullis';

export interface DecisionsOptions {
  /** The folder with the log of verdicts, which refusals name. */
  readonly root: string;
  readonly policy: () => TrustPolicy | undefined;
  /** Why the source of the policy has none; undefined: its files are wrong. */
  readonly lacking?: (() => string | undefined) | undefined;
  readonly now: () => Date;
  /** The log with checkpoints; without it, rows have none. */
  readonly log?: Pick<VerdictLog, 'statements'> | undefined;
  /** The database in which the separate parts of dossiers are stored. */
  readonly database: Pick<Database, 'get'>;
  /** Maximum size in memory of the cached verdicts. Default: 64 MiB. */
  readonly verdictBytes?: number;
}

function withoutPolicy(attempted: string, on: string, lacking: string | undefined): Error {
  return imageError({
    code: 'IMAGES_NO_POLICY',
    kind: 'denied',
    ...{ attempted, on },
    why: lacking ?? 'there is no valid trust policy, and without one nothing is admitted',
    fix:
      lacking === undefined
        ? 'correct the policy: the log of the daemon names each mistake, and portcullis policy status shows the policy release that the node uses'
        : 'make the source of the policy answer, or correct it: the log says what is wrong',
    prefix: 'SignatureValidationFailed',
  });
}

export function createDecisions(options: DecisionsOptions): Decisions {
  const { now } = options;
  const cache = new LRUCache<string, Verdict>({
    maxSize: options.verdictBytes ?? verdictBytes,
    sizeCalculation: sizeOf,
  });
  const inLog = new LRUCache<string, true>({ max: mostInLog });
  const statements =
    options.log?.statements ??
    ((verdict, dossier, policy) => verdictLogStatements(verdict, { dossier, policy, time: now() }));
  const known = (policy: TrustPolicy, question: Question): Verdict | undefined => {
    const verdict = cache.get(verdictCacheKey({ ...question, policy }));
    return verdict !== undefined && isValid(verdict, now()) ? verdict : undefined;
  };
  const decider = createDecider();
  /** Verdicts in progress, so that identical questions at one time share one. */
  const flights = new Map<string, Promise<Verdict>>();
  const inForce = (attempted: string, on: string): TrustPolicy => {
    const policy = options.policy();
    if (policy !== undefined) return policy;
    throw withoutPolicy(attempted, on, options.lacking?.());
  };

  const parts = new LRUCache<string, string>({
    maxSize: partsBytes,
    sizeCalculation: (bytes) => bytes.length + 1,
    ttl: partsMs,
    ttlAutopurge: true,
  });
  const whole = async (dossier: Dossier): Promise<Dossier> => {
    const found = new Map<string, string>();
    for (const digest of lackingParts(dossier)) {
      const row =
        parts.get(digest) ??
        (
          await options.database.get<{ bytes: string }>('SELECT bytes FROM evidence_part WHERE digest = ?', [
            digest,
          ])
        )?.bytes;
      if (row === undefined) continue;
      parts.set(digest, row);
      found.set(digest, row);
    }
    return withParts(dossier, (digest) => found.get(digest));
  };

  const prepare: Decisions['prepare'] = async (policy, question) => {
    if (known(policy, question) !== undefined) return;
    const key = verdictCacheKey({ ...question, policy });
    let flight = flights.get(key);
    if (flight === undefined) {
      flight = whole(question.dossier)
        .then((dossier) => decider.decide({ ...question, dossier, policy, now: now() }))
        .finally(() => flights.delete(key));
      flights.set(key, flight);
    }
    cache.set(key, await flight);
  };

  return {
    policy: inForce,
    decider,
    close: () => decider.close(),
    unseen(policy, question) {
      const at = now();
      const verdict = decideUnseen({ ...question, policy, now: at });
      return verdict && { verdict, log: statements(verdict, unseenDossier(question.reference, at), policy) };
    },
    async decide(question, attempted) {
      for (;;) {
        const policy = inForce(attempted, question.reference);
        const verdict = await decider.decide({
          ...question,
          dossier: await whole(question.dossier),
          policy,
          now: now(),
        });
        // The policy may have been reloaded meanwhile.
        if (inForce(attempted, question.reference).revision !== policy.revision) continue;
        return { verdict, log: statements(verdict, question.dossier, policy) };
      }
    },
    again(policy, question) {
      let verdict = known(policy, question);
      if (verdict === undefined && lackingParts(question.dossier).length > 0) {
        // Without the separate parts no decision is possible here: the verdict that `prepare` computed a
        // moment ago applies, unless it admits and has expired.
        const prepared = cache.get(verdictCacheKey({ ...question, policy }));
        verdict =
          prepared === undefined || prepared.outcome === 'admit'
            ? decide({ ...question, policy, now: now() })
            : prepared;
      } else if (verdict === undefined) {
        verdict = decide({ ...question, policy, now: now() });
        cache.set(verdictCacheKey({ ...question, policy }), verdict);
      }
      return { verdict, log: inLog.has(verdict.id) ? [] : statements(verdict, question.dossier, policy) };
    },
    async foresee(policy, question) {
      await prepare(policy, question);
      return (
        cache.get(verdictCacheKey({ ...question, policy })) ?? decide({ ...question, policy, now: now() })
      );
    },
    prepare,
    refusal: (verdict, attempted) => refusal(verdict, attempted, options.root),
    logged(verdict) {
      inLog.set(verdict.id, true);
    },
  };
}

/** A character takes up to two bytes, and the JSON of an object about as many as the object itself. */
function sizeOf(verdict: Verdict, key: string): number {
  return 2 * (JSON.stringify(verdict).length + key.length);
}

/**
 * Whether `validUntil` is in the future. A time that cannot be parsed is in the past. A verdict of a clock
 * that was ahead does not apply: it says nothing about an earlier time.
 */
function isValid({ validUntil, decidedAt }: Verdict, at: Date): boolean {
  return (
    Date.parse(decidedAt) <= at.getTime() &&
    (validUntil === undefined || at.getTime() < Date.parse(validUntil))
  );
}

function refusal(verdict: Verdict, attempted: string, root: string): PortcullisError {
  const undecided = verdict.outcome === 'undecided';
  const rule = firstRefusingRule(verdict.reasons);
  const place = root === usualRoot ? '' : ` --root ${root}`;
  return imageError({
    code: undecided ? 'IMAGES_UNDECIDED' : 'IMAGES_DENIED',
    kind: undecided ? 'undecided' : 'denied',
    attempted,
    on: verdict.reference,
    // The first line continues the sentence, so it has no mark. The advice has a line of its own.
    why: explainReason(verdict.reasons).replace(/^[-+] /u, ''),
    fix: `${adviceOf(verdict)}; portcullis verdicts show ${shortVerdictId(verdict)}${place} lists every signature and why it counted or did not`,
    prefix: 'SignatureValidationFailed',
    details: {
      verdictId: verdict.id,
      outcome: verdict.outcome,
      ...(verdict.digest === '' ? {} : { digest: verdict.digest }),
      ...(rule === undefined ? {} : { rule }),
      policyRevision: verdict.policyRevision,
      reasons: verdict.reasons,
    },
  });
}

/** Returns the beginning of the verdict's id: enough to find the verdict in the log. */
const shortVerdictId = ({ id }: Verdict): string => id.replace(/^sha256:/u, '').slice(0, 13);

/**
 * Returns `FILE:LINE` of the first rule that did not admit; a rule that does not match counts only if no rule
 * matches. The rule's text begins "rule FILE:LINE (" or "rule FILE:LINE does".
 */
function firstRefusingRule(reason: Reason): string | undefined {
  return refusingRule(reason) ?? firstRule(reason, () => true);
}

/**
 * Returns `FILE:LINE` of the first rule that matches and did not admit; undefined when no rule applies to the
 * image.
 */
export function refusingRule(reason: Reason): string | undefined {
  return firstRule(reason, (code) => code !== 'TRUST_RULE_OTHER');
}

function firstRule(reason: Reason, counts: (code: string) => boolean): string | undefined {
  if (reason.code?.startsWith('TRUST_RULE_') === true && !reason.counted && counts(reason.code)) {
    const name = /^rule (.+?) (\(|does )/.exec(reason.text)?.[1];
    if (name !== undefined) return name;
  }
  for (const child of reason.children ?? []) {
    const name = firstRule(child, counts);
    if (name !== undefined) return name;
  }
  return undefined;
}

import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createThreadPool, startWorker } from '../../base/process/index.ts';
import type { Caller } from '../../base/process/index.ts';
import { countVerifications } from '../keys/remembered.ts';
import type { DecideInput, EvidenceItem, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import type { Counted, DeciderCalls } from './decider-messages.ts';
import { decide } from './decide.ts';
import type { EvaluationContext, Evidence } from '../findings/evaluation.ts';
import { satisfied } from './satisfied.ts';

/**
 * The pure decision for callers that must not block: expensive questions are decided in a Worker, with the
 * same result, byte for byte.
 */
export interface Decider {
  /**
   * Like `decide`.
   * @throws PortcullisError `TRUST_DECIDER_FAILED`, which counts as a no
   */
  decide(input: DecideInput): Promise<Verdict>;
  /**
   * Like `satisfied`.
   * @throws PortcullisError `TRUST_DECIDER_FAILED`
   */
  satisfied(policy: TrustPolicy, evidence: Evidence, context: EvaluationContext): Promise<boolean>;
  /** Ends the threads. Pending questions fail. */
  close(): Promise<void>;
}

/**
 * Fewer signatures than this, with fewer bytes than the next limit (in base64), take a few milliseconds
 * together.
 */
const few = 4;
const smallBytes = 96 * 1024;
/** No policy or dossier takes this long by itself. Time that a question waits for others does not count. */
const longestMs = 60_000;
/** An isolate costs about 15 MB. It is released after this idle time. */
const idleMs = 60_000;

/**
 * Whether deciding on these items may take long: attestations are parsed and evaluated by the policy's
 * expressions, and each signature has its cost.
 */
export function isDear(items: readonly EvidenceItem[]): boolean {
  if (items.length >= few || items.some(({ kind }) => kind === 'attestation')) return true;
  return (
    items.reduce((sum, { bytes = '', subjectBytes = '' }) => sum + bytes.length + subjectBytes.length, 0) >
    smallBytes
  );
}

/** Number of threads: an image whose evidence takes long does not delay the others. */
const threads = 2;

export interface DeciderOptions {
  /** Milliseconds that one decision may run. Default: one minute. */
  readonly deadlineMs?: number;
}

/**
 * Creates a decider with its own threads. They start with the first expensive question and end when none has
 * arrived for a minute. The caller must close the decider.
 */
export function createDecider(options: DeciderOptions = {}): Decider {
  const { deadlineMs = longestMs } = options;
  /** Returns the memory of a thread: the policy that was last sent to it. */
  const memory = (): { policy: TrustPolicy | undefined } => ({ policy: undefined });
  const pool = createThreadPool<DeciderCalls, ReturnType<typeof memory>>({
    start: () =>
      startWorker(import.meta.url, './decide.worker.ts', { resourceLimits: { maxOldGenerationSizeMb: 512 } }),
    ...{ memory, most: threads, deadlineMs, idleMs },
    blame: { code: 'TRUST_DECIDER_FAILED', kind: 'internal', attempted: 'decide', on: '', fix: 'try again' },
  });

  const ask = async <T>(
    policy: TrustPolicy,
    { subject, on }: { readonly subject: string; readonly on: string },
    put: (caller: Caller<DeciderCalls>, policy: TrustPolicy | undefined) => Promise<Counted<T>>,
  ): Promise<T> => {
    try {
      const { answer, verifications } = await pool.ask(subject, async (caller, sent) => {
        const newer = sent.policy === policy ? undefined : policy;
        // The next question may leave out the policy only after a successful call.
        sent.policy = undefined;
        const counted = await put(caller, newer);
        sent.policy = policy;
        return counted;
      });
      countVerifications(verifications);
      return answer;
    } catch (error) {
      throw failed(on, error);
    }
  };

  return {
    async decide(input) {
      if (!isDear(input.dossier.items)) return decide(input);
      const { policy, ...rest } = input;
      const { reference, dossier } = input;
      return ask(policy, { subject: dossier.digest || reference, on: reference }, (caller, newer) =>
        caller.call('decide', rest, newer),
      );
    },
    async satisfied(policy, evidence, context) {
      if (!isDear(evidence.items)) return satisfied(policy, evidence, context);
      const { reference } = context;
      const subject = evidence.digest || reference;
      return ask(policy, { subject, on: reference }, (caller, newer) =>
        caller.call('satisfied', evidence, context, newer),
      );
    },
    close: () => pool.close(),
  };
}

function failed(on: string, error: unknown): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_DECIDER_FAILED',
    kind: 'internal',
    attempted: 'decide about image',
    on,
    why: `the thread that decides gave no answer: ${isPortcullisError(error) ? error.failure.why : reasonOf(error)}`,
    fix: 'try again; if it repeats, see how much evidence the image has and what the policy asks of it',
    cause: error,
  });
}

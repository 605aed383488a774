import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { createThreadPool, startWorker } from '../../base/process/index.ts';
import type { Caller } from '../../base/process/index.ts';
import { countVerifications } from '../remembered.ts';
import type { DecideInput, EvidenceItem, TrustPolicy, Verdict } from '../types.ts';
import type { Counted, DeciderCalls } from './decider-messages.ts';
import { decide } from './decide.ts';
import type { EvaluationContext, Evidence } from './evaluation.ts';
import { satisfied } from './satisfied.ts';

/** The pure decision for whoever may not block: what is dear is decided in a Worker, with the same result, byte for byte. */
export interface Decider {
  /** As `decide`. @throws PortcullisError `TRUST_DECIDER_FAILED`, which is a no */
  decide(input: DecideInput): Promise<Verdict>;
  /** As `satisfied`. @throws PortcullisError `TRUST_DECIDER_FAILED` */
  satisfied(policy: TrustPolicy, evidence: Evidence, context: EvaluationContext): Promise<boolean>;
  /** Ends the threads; what they were asked fails. */
  close(): Promise<void>;
}

/** Fewer signatures, and fewer bytes of them (in base64), take a few milliseconds all together. */
const few = 4;
const smallBytes = 96 * 1024;
/** No policy and no dossier takes this long by itself. Time that a question waits behind others does not count. */
const longestMs = 60_000;
/** An isolate costs some 15 MB; unused for so long it is given back. */
const idleMs = 60_000;

/** Whether to decide on these items may take long: attestations are read and asked in a policy's expressions, and each signature has its cost. */
export function isDear(items: readonly EvidenceItem[]): boolean {
  if (items.length >= few || items.some(({ kind }) => kind === 'attestation')) return true;
  return items.reduce((sum, { bytes = '', subjectBytes = '' }) => sum + bytes.length + subjectBytes.length, 0) > smallBytes;
}

/** Threads at one time: an image whose evidence takes long does not keep the others waiting. */
const threads = 2;

export interface DeciderOptions {
  /** Milliseconds that one decision may run; a minute unless told. */
  readonly deadlineMs?: number;
}

/**
 * A decider with threads of its own, which start with the first question that is dear and end when none has come for a minute.
 * Whoever makes it closes it.
 */
export function createDecider(options: DeciderOptions = {}): Decider {
  const { deadlineMs = longestMs } = options;
  /** @returns the policy that the thread was sent last */
  const memory = (): { policy: TrustPolicy | undefined } => ({ policy: undefined });
  const pool = createThreadPool<DeciderCalls, ReturnType<typeof memory>>({
    start: () => startWorker(import.meta.url, './decide.worker.ts', { resourceLimits: { maxOldGenerationSizeMb: 512 } }),
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
        // Only a policy that was taken is left out of the next question.
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
      return ask(policy, { subject: dossier.digest || reference, on: reference }, (caller, newer) => caller.call('decide', rest, newer));
    },
    async satisfied(policy, evidence, context) {
      if (!isDear(evidence.items)) return satisfied(policy, evidence, context);
      const { reference } = context;
      const subject = evidence.digest || reference;
      return ask(policy, { subject, on: reference }, (caller, newer) => caller.call('satisfied', evidence, context, newer));
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

import type { Worker } from 'node:worker_threads';
import { PortcullisError } from '../../base/errors/index.ts';
import { startWorker } from '../../base/process/index.ts';
import { countVerifications } from '../remembered.ts';
import type { DecideInput, EvidenceItem, TrustPolicy, Verdict } from '../types.ts';
import type { Answered, Asked } from './decider-messages.ts';
import { decide } from './decide.ts';
import type { EvaluationContext, Evidence } from './evaluation.ts';
import { satisfied } from './satisfied.ts';

/** The pure decision for whoever may not block: what is dear is decided in a Worker, with the same result, byte for byte. */
export interface Decider {
  /** As `decide`. @throws PortcullisError `TRUST_DECIDER_FAILED`, which is a no */
  decide(input: DecideInput): Promise<Verdict>;
  /** As `satisfied`. @throws PortcullisError `TRUST_DECIDER_FAILED` */
  satisfied(policy: TrustPolicy, evidence: Evidence, context: EvaluationContext): Promise<boolean>;
  /** Ends the Worker; what it was asked fails. */
  close(): Promise<void>;
}

/** Fewer signatures, and fewer bytes of them (in base64), take a few milliseconds all together. */
const few = 4;
const smallBytes = 96 * 1024;
/** No policy and no dossier takes this long: the Worker hangs. */
const longestMs = 60_000;
/** An isolate costs some 15 MB; unused for so long it is given back. */
const idleMs = 60_000;

/** Whether to decide on these items may take long: attestations are read and asked in a policy's expressions, and each signature has its cost. */
export function isDear(items: readonly EvidenceItem[]): boolean {
  if (items.length >= few || items.some(({ kind }) => kind === 'attestation')) return true;
  return items.reduce((sum, { bytes = '', subjectBytes = '' }) => sum + bytes.length + subjectBytes.length, 0) > smallBytes;
}

/** A running Worker, and who waits for it. */
interface Running {
  readonly worker: Worker;
  /** The policy that it has. */
  policy: TrustPolicy | undefined;
  readonly waiting: Map<number, { resolve(answered: Answered): void; reject(error: Error): void }>;
  idle: NodeJS.Timeout | undefined;
}

/**
 * A decider with a Worker of its own, which starts with the first question that is dear and ends when none has come for a minute.
 * Whoever makes it closes it.
 */
export function createDecider(): Decider {
  let running: Running | undefined;
  let asked = 0;

  const end = async (ended: Running, why: Error): Promise<void> => {
    if (running === ended) running = undefined;
    clearTimeout(ended.idle);
    for (const { reject } of ended.waiting.values()) reject(why);
    ended.waiting.clear();
    await ended.worker.terminate();
  };
  const start = (): Running => {
    const worker = startWorker(import.meta.url, './decide.worker.ts', { resourceLimits: { maxOldGenerationSizeMb: 512 } });
    const started: Running = { worker, policy: undefined, waiting: new Map(), idle: undefined };
    worker.unref();
    worker.on('message', (answered: Answered) => {
      countVerifications(answered.verifications);
      started.waiting.get(answered.id)?.resolve(answered);
    });
    worker.on('error', (error: Error) => void end(started, error));
    worker.on('exit', () => void end(started, new Error('its thread has ended')));
    return started;
  };
  const ask = async (policy: TrustPolicy, question: Asked['question'], on: string): Promise<Answered> => {
    const current = (running ??= start());
    clearTimeout(current.idle);
    const id = (asked += 1);
    const { promise, resolve, reject } = Promise.withResolvers<Answered>();
    current.waiting.set(id, { resolve, reject });
    // Somebody waits: the process may not end before the answer.
    current.worker.ref();
    const late = setTimeout(() => void end(current, new Error(`there was no answer within ${longestMs / 1000} s`)), longestMs);
    try {
      current.worker.postMessage({ id, question, ...(current.policy === policy ? {} : { policy }) } satisfies Asked);
      current.policy = policy;
      const answered = await promise;
      if ('error' in answered) {
        // It may have been the policy that it could not take: the next question brings it again.
        current.policy = undefined;
        throw new Error(answered.error);
      }
      return answered;
    } catch (error) {
      throw failed(on, error);
    } finally {
      clearTimeout(late);
      current.waiting.delete(id);
      if (current.waiting.size === 0 && running === current) {
        current.worker.unref();
        current.idle = setTimeout(() => void end(current, new Error('it was not used')), idleMs).unref();
      }
    }
  };

  return {
    async decide(input) {
      if (!isDear(input.dossier.items)) return decide(input);
      const { policy, ...rest } = input;
      const answered = await ask(policy, { kind: 'decide', input: rest }, input.reference);
      if (!('verdict' in answered)) throw failed(input.reference, new Error('it answered something else'));
      return answered.verdict;
    },
    async satisfied(policy, evidence, context) {
      if (!isDear(evidence.items)) return satisfied(policy, evidence, context);
      const answered = await ask(policy, { kind: 'satisfied', evidence, context }, context.reference);
      return 'satisfied' in answered && answered.satisfied;
    },
    async close() {
      if (running !== undefined) await end(running, new Error('it was closed'));
    },
  };
}

function failed(on: string, error: unknown): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_DECIDER_FAILED',
    kind: 'internal',
    attempted: 'decide about image',
    on,
    why: `the thread that decides gave no answer: ${error instanceof Error ? error.message : String(error)}`,
    fix: 'try again; if it repeats, see how much evidence the image has and what the policy asks of it',
    cause: error,
  });
}

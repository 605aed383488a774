import { parentPort } from 'node:worker_threads';
import { reasonOf } from '../../base/errors/index.ts';
import { bundleVerifications } from '../remembered.ts';
import type { TrustPolicy } from '../types.ts';
import { decide } from './decide.ts';
import type { Answered, Asked } from './decider-messages.ts';
import { prepareDecision } from './prepare.ts';
import { satisfied } from './satisfied.ts';

/** Decides what is dear, one question after another: the same pure functions, on a thread that nobody waits for. */
let policy: TrustPolicy | undefined;
let tail: Promise<unknown> = Promise.resolve();

parentPort?.on('message', (asked: Asked) => {
  tail = tail.then(() => answer(asked)).then((answered) => parentPort?.postMessage(answered));
});

async function answer({ id, question, policy: newer }: Asked): Promise<Answered> {
  const before = bundleVerifications();
  const of = <T>(said: T) => ({ id, verifications: bundleVerifications() - before, ...said });
  try {
    if (newer !== undefined) {
      policy = undefined;
      await prepareDecision(newer);
      policy = newer;
    }
    if (policy === undefined) throw new Error('it has no policy');
    if (question.kind === 'satisfied') return of({ satisfied: satisfied(policy, question.evidence, question.context) });
    return of({ verdict: decide({ ...question.input, policy }) });
  } catch (error) {
    return of({ error: reasonOf(error) });
  }
}

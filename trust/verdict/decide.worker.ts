import { serveThread } from '../../base/process/index.ts';
import { bundleVerifications } from '../keys/remembered.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { decide } from './decide.ts';
import type { Counted, DeciderCalls } from './decider-messages.ts';
import { prepareDecision } from './prepare.ts';
import { satisfied } from './satisfied.ts';

/**
 * Decides expensive questions one after another, with the same pure functions, in a thread that blocks no
 * other work.
 */
let policy: TrustPolicy | undefined;

async function under<T>(
  newer: TrustPolicy | undefined,
  ask: (policy: TrustPolicy) => T,
): Promise<Counted<T>> {
  const before = bundleVerifications();
  if (newer !== undefined) {
    policy = undefined;
    await prepareDecision(newer);
    policy = newer;
  }
  if (policy === undefined) throw new Error('it has no policy');
  const answer = ask(policy);
  return { answer, verifications: bundleVerifications() - before };
}

const calls: DeciderCalls = {
  decide: (input, newer) => under(newer, (current) => decide({ ...input, policy: current })),
  satisfied: (evidence, context, newer) => under(newer, (current) => satisfied(current, evidence, context)),
};

await serveThread(
  (call) => ({
    code: 'TRUST_DECIDER_FAILED',
    kind: 'internal',
    attempted: call,
    on: '',
    fix: 'try again; if it fails again, report this error',
  }),
  () => ({ offer: calls }),
);

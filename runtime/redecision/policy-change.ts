import { policyReasons } from '../events/policy-events.ts';
import type { PolicyChange } from '../events/policy-events.ts';
import type { OutOfPolicy } from './container-decisions.ts';

/**
 * Returns the message to watchers for a container that is out of policy, or (`undefined`) is in policy again.
 */
export function policyChange(found: OutOfPolicy | undefined): PolicyChange {
  if (found === undefined) return { reason: policyReasons.in, message: '' };
  const { rule, reference, verdict } = found;
  return {
    reason: policyReasons.out,
    message: `${rule === '' ? 'no rule' : `rule ${rule}`}: ${reference} is no longer admitted (verdict ${verdict})`,
  };
}

import type { BeyondCri } from '../../containers/adjusted.ts';
import type { POSIXRlimit } from '../protocol/contract.types.ts';
import type { OwnedChange } from './merge.ts';
import { badAdjustment } from './refusal.ts';

/** getrlimit(2). */
const known =
  /^RLIMIT_(AS|CORE|CPU|DATA|FSIZE|LOCKS|MEMLOCK|MSGQUEUE|NICE|NOFILE|NPROC|RSS|RTPRIO|RTTIME|SIGPENDING|STACK)$/;

/** RLIM_INFINITY. As a JavaScript number, it is rounded up to 2^64. */
const unlimited = 2n ** 64n - 1n;

/**
 * Returns the limit of processes that a plugin sets. Pure.
 * @throws PortcullisError NRI_BAD_ADJUSTMENT
 */
export function addedLimit(change: OwnedChange): BeyondCri['rlimits'][number] {
  const { type, soft, hard } = change.value as POSIXRlimit;
  if (!known.test(type))
    throw badAdjustment(change, 'this limit does not exist', 'use a name from getrlimit(2)');
  if (soft > hard)
    throw badAdjustment(change, `its soft limit ${soft} is above its hard limit ${hard}`, 'lower it');
  return { type, soft: exact(soft), hard: exact(hard) };
}

function exact(limit: number): string {
  const value = BigInt(limit);
  return String(value > unlimited ? unlimited : value);
}

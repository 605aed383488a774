import type { TokenBucket } from '../../../base/netlink/index.ts';

/** A rate with its burst, both in bits. */
export interface Limit {
  readonly rate: number;
  readonly burst: number;
}

/** How long a packet may wait, as in the upstream plugin. */
const latencySeconds = 0.025;
const ticksPerMicrosecond = 15.625; // PSCHED_SHIFT 6: a tick is 64 ns
const maximum = 0xffffffff;

/**
 * Returns the kernel's parameters with upstream's rounding. A burst that takes longer than 32 bits of ticks
 * (274 seconds) is reduced to that: containerd and CRI-O request the largest burst for every rate. Pure.
 */
export function bucketOf({ rate, burst }: Limit): TokenBucket {
  const rateBytes = Math.floor(rate / 8);
  const mostBytes = Math.floor((rateBytes * maximum) / ticksPerMicrosecond / 1_000_000);
  const burstBytes = Math.min(Math.floor(burst / 8), mostBytes);
  const microseconds = Math.floor((burstBytes * 1_000_000) / rateBytes);
  const buffer = Math.floor(microseconds * ticksPerMicrosecond);
  const limit = Math.min(Math.floor(rateBytes * latencySeconds) + burstBytes, maximum);
  return { rate: BigInt(rateBytes), limit, buffer };
}

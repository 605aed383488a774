import { isFor } from '../../trust/policy-release/index.ts';
import type { PolicyRelease, StagedNode } from '../../trust/policy-release/index.ts';
import { isSame } from './state.ts';
import type { DeliveryState } from './state.ts';

/** The meaning of the signed list of releases for this node. */
export type Plan =
  /** The release in force stays, or there is none for this node and none in force. */
  | { readonly do: 'keep' }
  /** `must`: the release in force may not stay, so that no denial keeps the node from leaving it. */
  | { readonly do: 'take'; readonly release: PolicyRelease; readonly must: boolean }
  /** The release in force is withdrawn, and no other one is for this node. */
  | { readonly do: 'leave' };

/**
 * Returns what a node does. It takes the newest release that is for it, and goes back to an older one only
 * when its own is withdrawn or no longer listed. Pure.
 * @param releases newest first, as the signed metadata list them
 */
export function planFor(releases: readonly PolicyRelease[], state: DeliveryState, node: StagedNode): Plan {
  const { active } = state;
  const eligible = releases.filter((release) => !release.withdrawn && isFor(release, node));
  const isHalted = (release: PolicyRelease): boolean =>
    state.halted.some((one) => one.when === 'after' && isSame(one, release));
  const best = eligible.find((release) => !isHalted(release));
  if (active !== undefined && isListed(releases, active))
    return best === undefined || best.number <= active.number || isSame(best, active)
      ? { do: 'keep' }
      : { do: 'take', release: best, must: false };
  const any = best ?? eligible[0];
  if (any !== undefined) return { do: 'take', release: any, must: true };
  return active === undefined ? { do: 'keep' } : { do: 'leave' };
}

/** Whether the metadata list a release, and do not withdraw it. */
export function isListed(
  releases: readonly PolicyRelease[],
  wanted: Pick<PolicyRelease, 'number' | 'sha256'>,
): boolean {
  return releases.some((one) => isSame(one, wanted) && !one.withdrawn);
}

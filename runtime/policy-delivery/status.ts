import type { AdminPolicySubscription } from '../../cni-plugins/index.ts';
import type { StagedNode } from '../../trust/policy-release/index.ts';
import type { ReleasePreview } from './preview.ts';
import type { DeliveryState, HaltedRelease } from './state.ts';

/**
 * How a node stands to the releases of its policy. `none`: no release has arrived. `current`: it has the
 * newest release that is for it, and no newer one exists. `pending`: a newer release has not reached its
 * stage. `watching`: it took a release a moment ago, and may return. `halted`: a newer release would refuse,
 * or has refused, what was admitted. `refused`: what the source serves is not acceptable. `withdrawn`: its
 * release was withdrawn, and no other one is in force yet. `stale`: the metadata have expired.
 */
export type DeliveryStanding =
  | 'none'
  | 'current'
  | 'pending'
  | 'watching'
  | 'halted'
  | 'refused'
  | 'withdrawn'
  | 'stale';

/** Why the last question brought nothing. */
export interface DeliveryProblem {
  readonly code: string;
  readonly why: string;
  readonly fix: string;
  /** ISO 8601. */
  readonly at: string;
  /** The source could not be reached: nothing is wrong with what it serves. */
  readonly isUnavailable: boolean;
}

/** All times are ISO 8601. */
export interface DeliveryStatus extends Pick<
  AdminPolicySubscription,
  'service' | 'channel' | 'release' | 'newest'
> {
  readonly node: StagedNode;
  readonly state: DeliveryStanding;
  readonly halted?: HaltedRelease;
  /**
   * The expected refusals of a newer release here. The release has not reached the stage of this node, or is
   * halted.
   */
  readonly upcoming?: ReleasePreview;
  readonly problem?: DeliveryProblem;
  readonly contact?: string;
  readonly attempt?: string;
  readonly next?: string;
  readonly expires?: string;
}

/** Returns the status. Pure. */
export function statusOf(facts: {
  readonly service: string;
  readonly channel: string;
  readonly node: StagedNode;
  readonly state: DeliveryState;
  readonly preview?: ReleasePreview | undefined;
  readonly problem: DeliveryProblem | undefined;
  readonly attempt: Date | undefined;
  readonly next: Date | undefined;
  readonly isStale: boolean;
  readonly isWatched: boolean;
  readonly isWithdrawn: boolean;
}): DeliveryStatus {
  const { service, channel, node, state, problem, attempt, next } = facts;
  const { active, newest, contact, expires } = state;
  const halted = state.halted.find(({ number }) => number > (active?.number ?? 0));
  return {
    ...{ service, channel, node },
    state: standingOf(facts, halted),
    ...(active !== undefined && {
      release: {
        ...{ number: active.number, sha256: active.sha256, since: active.since },
        revision: active.policyRevision,
      },
    }),
    ...(newest !== undefined && { newest }),
    ...(halted !== undefined && { halted }),
    ...upcomingOf(facts, halted),
    ...(problem !== undefined && { problem }),
    ...(contact !== undefined && { contact }),
    ...(attempt !== undefined && { attempt: attempt.toISOString() }),
    ...(next !== undefined && { next: next.toISOString() }),
    ...(expires !== undefined && { expires }),
  };
}

function upcomingOf(
  { preview, channel }: Parameters<typeof statusOf>[0],
  halted: HaltedRelease | undefined,
): Pick<DeliveryStatus, 'upcoming'> {
  if (preview !== undefined) return { upcoming: preview };
  if (halted === undefined) return {};
  const { number, denials, count } = halted;
  return { upcoming: { release: `${channel}/${number}`, denials, count } };
}

function standingOf(
  { state, problem, isStale, isWatched, isWithdrawn }: Parameters<typeof statusOf>[0],
  halted: HaltedRelease | undefined,
): DeliveryStanding {
  if (isStale) return 'stale';
  if (isWithdrawn) return 'withdrawn';
  if (problem !== undefined && !problem.isUnavailable) return 'refused';
  if (halted !== undefined) return 'halted';
  if (state.active === undefined) return 'none';
  if (isWatched) return 'watching';
  return (state.newest?.number ?? 0) > state.active.number ? 'pending' : 'current';
}

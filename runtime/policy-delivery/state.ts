import type { PolicyRelease } from '../../trust/policy-release/index.ts';

/** A release that was put in force on this node. */
export interface ActiveRelease extends PolicyRelease {
  /** ISO 8601. */
  readonly since: string;
  /** The revision as this node loaded it, by which verdicts name it. */
  readonly policyRevision: string;
}

/** A workload that a release would refuse, or has refused, and that the release before it admits. */
export interface LostAdmission {
  readonly namespace: string;
  /** Name of the image. */
  readonly reference: string;
  readonly outcome: 'deny' | 'undecided';
  /** `FILE:LINE` of the rule that refuses; empty when none applies. */
  readonly rule: string;
}

/** A release that this node did not take, or from which it returned. */
export interface HaltedRelease {
  readonly number: number;
  readonly sha256: string;
  /** ISO 8601. */
  readonly at: string;
  /** `before`: it never was in force here, and is tried again. `after`: refusals rose. */
  readonly when: 'before' | 'after';
  readonly denials: readonly LostAdmission[];
  /** How many there were; `denials` lists the first of them. */
  readonly count: number;
}

/** The state that the node keeps between its runs. */
export interface DeliveryState {
  readonly version: 1;
  readonly active?: ActiveRelease;
  /** The release that was in force before, to which the node may return. */
  readonly previous?: ActiveRelease;
  /** The release in force may not stay: it was withdrawn, or it is no longer listed. */
  readonly left?: true;
  readonly halted: readonly HaltedRelease[];
  /** The newest release of the channel, whether it is for this node or not. */
  readonly newest?: { readonly number: number; readonly stage: string };
  /** ISO 8601: when the trusted metadata expire. */
  readonly expires?: string;
  /** ISO 8601: the last answer of the source that was accepted. */
  readonly contact?: string;
}

export const emptyState: DeliveryState = { version: 1, halted: [] };

/** Whether two records name one release. */
export const isSame = (
  a: Pick<PolicyRelease, 'number' | 'sha256'>,
  b: Pick<PolicyRelease, 'number' | 'sha256'>,
): boolean => a.number === b.number && a.sha256 === b.sha256;

const mostHalted = 10;

/**
 * Adds a halted release, in place of an older record of it. Only the latest release that never was in force
 * is remembered: such releases are tried again, and must not displace one that the node may not take again.
 */
export function withHalted(state: DeliveryState, halted: HaltedRelease): DeliveryState {
  const others = state.halted.filter((one) => !isSame(one, halted) && one.when === 'after');
  return { ...state, halted: [halted, ...others].slice(0, mostHalted) };
}

import type { FilteredPolicy, SyscallPolicy } from '../seccomp/policy.ts';
import { AUDIT_ARCH } from '../seccomp/syscalls.ts';
import type { Architecture } from '../types.ts';
import { answerOf, answerRank, grantOf } from './answer.ts';
import { equal, evaluate, witness, within } from './compare.ts';
import { describeDifference } from './describe-call.ts';
import type { CallWitness } from './describe-call.ts';
import { createDiagramStore } from './diagram.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';
import type { Budget } from './budget.ts';
import { diagramOfOci } from './oci-diagram.ts';
import { diagramOfPolicy } from './policy-diagram.ts';
import { diagramOfProgram } from './program-diagram.ts';

const ALLOW = 0x7fff0000;

/**
 * The reference with which filters are compared: a profile's system calls, or the OCI seccomp object that a
 * runtime was given.
 */
export type Expected =
  | { readonly policy: SyscallPolicy; readonly base?: FilteredPolicy }
  /** An object as `parseSeccompJson` returns it, not JSON text. */
  | { readonly oci: unknown };

/** How the filters of a process relate to the expected ones. */
export interface Attestation {
  /**
   * equal: every call gets the expected answer. narrower: no unexpected call is allowed, and some calls get
   * another answer. looser: a call is allowed that must not be.
   */
  readonly verdict: 'equal' | 'narrower' | 'looser';
  /** A call that shows the difference, unless equal. */
  readonly witness?: CallWitness;
  readonly instructions: number;
}

/**
 * Compares compiled filters with a profile: the filters of a running container (`seccompFilters` of
 * base/kernel), or any programs.
 * @param filters the oldest first; the tightest of all answers counts, as in the kernel (seccomp(2), "Return
 * value"); an empty list: no filter
 * @throws ENTITLEMENTS_BAD_FILTER, ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_UNPROVED, ENTITLEMENTS_TOO_COMPLEX
 */
export function attestFilters(
  expected: Expected,
  architecture: Architecture,
  filters: readonly Uint8Array[],
  budget?: Budget,
): Attestation {
  const store = createDiagramStore(budget);
  const [wanted, ...others] = diagramsOfExpected(store, expected, architecture);
  const found = filters
    .map((bpf) => diagramOfProgram(store, bpf))
    .reduce((older, newer) => store.combine(older, newer, tightest), store.leaf(ALLOW));
  const instructions = filters.reduce((sum, bpf) => sum + bpf.length / 8, 0);
  if ([wanted, ...others].some((one) => equal(one, found))) return { verdict: 'equal', instructions };
  const sides = { left: 'the filter answers', right: 'the profile says' };
  const native = AUDIT_ARCH[architecture];
  // The way in which a call is denied is not a grant.
  const [granted, expectedGrants] = [found, wanted].map((node) => store.mapLeaves(node, grantOf));
  const bound = within(store, granted ?? found, expectedGrants ?? wanted, native);
  if (!bound.yes) {
    const { call } = bound.difference;
    const [left, right] = [evaluate(store, found, call), evaluate(store, wanted, call)];
    return { verdict: 'looser', witness: describeDifference({ call, left, right }, sides), instructions };
  }
  const difference = witness(store, found, wanted, native);
  return {
    verdict: 'narrower',
    ...(difference !== undefined && { witness: describeDifference(difference, sides) }),
    instructions,
  };
}

/** Returns the answers that are expected. For an OCI object, they depend a little on the runtime. */
function diagramsOfExpected(
  store: DiagramStore,
  expected: Expected,
  architecture: Architecture,
): readonly [Node, ...Node[]] {
  if ('oci' in expected) {
    const loadedBy = (runtime: 'crun' | 'runc'): Node =>
      diagramOfOci(store, expected.oci, architecture, { loadedBy: runtime });
    return [loadedBy('crun'), loadedBy('runc')];
  }
  const { policy, base } = expected;
  return [
    policy.filtered
      ? diagramOfPolicy(store, policy, { architecture, ...(base !== undefined && { base }) })
      : store.leaf(ALLOW),
  ];
}

/**
 * Returns the tighter action of two filters' answers. If the action is the same, the newer filter's data
 * counts.
 */
function tightest(older: number, newer: number): number {
  return actionRank(older) < actionRank(newer) ? older : newer;
}

function actionRank(answer: number): number {
  return answerRank(answerOf((answer & 0xffff0000) >>> 0));
}

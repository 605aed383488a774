import type { FilteredPolicy, SyscallPolicy } from '../seccomp/policy.ts';
import { AUDIT_ARCH } from '../seccomp/syscalls.ts';
import type { Architecture } from '../types.ts';
import { answerOf, answerRank, grantOf } from './answer.ts';
import { equal, evaluate, witness, within } from './compare.ts';
import { describeDifference } from './describe-call.ts';
import type { CallWitness } from './describe-call.ts';
import { createDiagramStore } from './diagram.ts';
import type { Budget, DiagramStore, Node } from './diagram.ts';
import { diagramOfOci } from './oci-diagram.ts';
import { diagramOfPolicy } from './policy-diagram.ts';
import { diagramOfProgram } from './program-diagram.ts';

const ALLOW = 0x7fff0000;

/** What filters are held against: a profile's system calls, or the OCI seccomp object that a runtime was given. */
export type Expected =
  | { readonly policy: SyscallPolicy; readonly base?: FilteredPolicy }
  /** Not a word of JSON: an object as `parseSeccompJson` reads it. */
  | { readonly oci: unknown };

/** What the filters of a process are, beside what is expected. */
export interface Attestation {
  /**
   * equal: every call is answered as expected. narrower: no call is let through that is not expected to be, and some are answered
   * otherwise. looser: a call is let through that must not be.
   */
  readonly verdict: 'equal' | 'narrower' | 'looser';
  /** A call that shows it, unless equal. */
  readonly witness?: CallWitness;
  readonly instructions: number;
}

/**
 * Holds compiled filters against a profile: of a running container (`seccompFilters` of base/kernel), or of any program.
 * @param filters the oldest first; the tightest answer of all counts, as in the kernel (seccomp(2), "Return value"); none: no filter
 * @throws ENTITLEMENTS_BAD_FILTER, ENTITLEMENTS_BAD_SECCOMP, ENTITLEMENTS_UNPROVED, ENTITLEMENTS_TOO_COMPLEX
 */
export function attestFilters(
  expected: Expected,
  architecture: Architecture,
  filters: readonly Uint8Array[],
  budget?: Budget,
): Attestation {
  const store = createDiagramStore(budget);
  const wanted = diagramOfExpected(store, expected, architecture);
  const found = filters
    .map((bpf) => diagramOfProgram(store, bpf))
    .reduce((older, newer) => store.combine(older, newer, tightest), store.leaf(ALLOW));
  const instructions = filters.reduce((sum, bpf) => sum + bpf.length / 8, 0);
  if (equal(wanted, found)) return { verdict: 'equal', instructions };
  const sides = { left: 'the filter answers', right: 'the profile says' };
  const native = AUDIT_ARCH[architecture];
  // How a call is denied is no grant.
  const [granted, expectedGrants] = [found, wanted].map((node) => store.mapLeaves(node, grantOf));
  const bound = within(store, granted ?? found, expectedGrants ?? wanted, native);
  if (!bound.yes) {
    const { call } = bound.difference;
    const [left, right] = [evaluate(store, found, call), evaluate(store, wanted, call)];
    return { verdict: 'looser', witness: describeDifference({ call, left, right }, sides), instructions };
  }
  const difference = witness(store, found, wanted, native);
  return { verdict: 'narrower', ...(difference !== undefined && { witness: describeDifference(difference, sides) }), instructions };
}

function diagramOfExpected(store: DiagramStore, expected: Expected, architecture: Architecture): Node {
  if ('oci' in expected) return diagramOfOci(store, expected.oci, architecture);
  const { policy, base } = expected;
  return policy.filtered ? diagramOfPolicy(store, policy, { architecture, ...(base !== undefined && { base }) }) : store.leaf(ALLOW);
}

/** Of two filters' answers the tighter action; of one action twice the newer filter's data. */
function tightest(older: number, newer: number): number {
  return actionRank(older) < actionRank(newer) ? older : newer;
}

function actionRank(answer: number): number {
  return answerRank(answerOf((answer & 0xffff0000) >>> 0));
}

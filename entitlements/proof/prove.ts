import { largest } from '../../base/lists/index.ts';
import { entitlementsError } from '../errors.ts';
import type { FilteredPolicy, SyscallPolicy } from '../seccomp/policy.ts';
import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import type { Architecture, Settings } from '../types.ts';
import { grantOf } from './answer.ts';
import { equal, evaluate, witness, within } from './compare.ts';
import { ARCH_WORD } from './conditions.ts';
import { describeDifference } from './describe-call.ts';
import type { CallWitness } from './describe-call.ts';
import { createDiagramStore } from './diagram.ts';
import { FALSE, TRUE } from './node-table.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';
import type { Budget } from './budget.ts';
import { diagramOfOci } from './oci-diagram.ts';
import { byNumberRange, diagramOfPolicy, wordIs } from './policy-diagram.ts';
import { diagramOfProgram } from './program-diagram.ts';

/** The part of the settings that is proved. */
type Filter = NonNullable<Settings['seccomp']>;

export interface ProofSubject {
  readonly policy: SyscallPolicy;
  readonly architecture: Architecture;
  /** The calls that the runtime itself makes before the program starts: granted in addition to the policy. */
  readonly base?: FilteredPolicy;
  /** Whether the runtime gets the OCI object, and compiles it itself with its own libseccomp. */
  readonly compiledByRuntime?: boolean;
}

/**
 * The newest call that libseccomp 2.5.4 knows on every architecture (set_mempolicy_home_node). This is the
 * oldest version that we support.
 */
const OLDEST_LIBSECCOMP = 450;

/** The cost of a completed proof. */
export interface Proof {
  /** The number of nodes of the diagrams. */
  readonly nodes: number;
  readonly milliseconds: number;
}

/**
 * Proves that a program answers every call as the policy says, and that the OCI object does so for the calls
 * of the tables.
 * @throws ENTITLEMENTS_MISCOMPILED with a call for which they differ, in words and in `details.witness`;
 * ENTITLEMENTS_BAD_FILTER; ENTITLEMENTS_UNPROVED; ENTITLEMENTS_TOO_COMPLEX above the budget of two seconds
 */
export function proveFilter(subject: ProofSubject, filter: Filter | undefined, budget?: Budget): Proof {
  const start = performance.now();
  if (!subject.policy.filtered) {
    if (filter === undefined) return { nodes: 0, milliseconds: 0 };
    throw mismatch('the profile filters no system call, and a filter was made');
  }
  if (filter === undefined) throw mismatch('the profile filters system calls, and no filter was made');
  const store = createDiagramStore(budget);
  const expected = diagramOfPolicy(store, subject.policy, subject);
  const programWitness = differenceOf(
    store,
    expected,
    diagramOfProgram(store, filter.bpf),
    subject.architecture,
    'the program answers',
  );
  if (programWitness !== undefined) throw mismatch(programWitness.sentence, programWitness);
  const known = callsOfTables(store, subject.architecture);
  const [left, right] = [expected, diagramOfOci(store, filter.oci, subject.architecture)].map((node) =>
    store.choose(known, node, store.leaf(0)),
  );
  const ociWitness = differenceOf(
    store,
    left ?? FALSE,
    right ?? FALSE,
    subject.architecture,
    'the OCI seccomp object answers',
  );
  if (ociWitness !== undefined) throw mismatch(ociWitness.sentence, ociWitness);
  if (subject.compiledByRuntime === true)
    proveForOlder(store, subject, filter, store.choose(known, expected, store.leaf(0)), known);
  return { nodes: store.size(), milliseconds: performance.now() - start };
}

/**
 * Compares any compiled program with a policy.
 * @returns a call that they answer differently; undefined if they are equal
 * @throws ENTITLEMENTS_BAD_FILTER, ENTITLEMENTS_TOO_COMPLEX
 */
export function programDifference(
  subject: ProofSubject & { readonly policy: FilteredPolicy },
  bpf: Uint8Array,
  budget?: Budget,
): CallWitness | undefined {
  const store = createDiagramStore(budget);
  return differenceOf(
    store,
    diagramOfPolicy(store, subject.policy, subject),
    diagramOfProgram(store, bpf),
    subject.architecture,
    'the program answers',
  );
}

function differenceOf(
  store: DiagramStore,
  expected: Node,
  actual: Node,
  architecture: Architecture,
  verb: string,
): CallWitness | undefined {
  if (equal(expected, actual)) return undefined;
  const difference = witness(store, expected, actual, AUDIT_ARCH[architecture]);
  if (difference === undefined) throw new Error('two diagrams of one store differ and no call shows it');
  return describeDifference(difference, { left: 'the profile says', right: verb });
}

/**
 * A libseccomp that does not know a call skips its rules. If the default allows, that would allow the call.
 */
function proveForOlder(
  store: DiagramStore,
  { architecture }: ProofSubject,
  { oci }: Filter,
  expected: Node,
  known: Node,
): void {
  const skipped = store.choose(
    known,
    diagramOfOci(store, oci, architecture, { newest: OLDEST_LIBSECCOMP }),
    store.leaf(0),
  );
  const [grants, bound] = [skipped, expected].map((node) => store.mapLeaves(node, grantOf));
  const answer = within(store, grants ?? FALSE, bound ?? FALSE, AUDIT_ARCH[architecture]);
  if (answer.yes) return;
  const { call } = answer.difference;
  const [left, right] = [evaluate(store, expected, call), evaluate(store, skipped, call)];
  const found = describeDifference(
    { call, left, right },
    { left: 'the profile says', right: 'a libseccomp that does not know it answers' },
  );
  throw entitlementsError('ENTITLEMENTS_UNPROVED', {
    kind: 'precondition',
    attempted: 'prove that the seccomp filter is the profile',
    on: '',
    why: found.sentence,
    fix: 'use crun, which loads our program unchanged, or a profile that denies what it does not name',
    details: { witness: plain(found) },
  });
}

/**
 * Returns the calls that both a policy and libseccomp cover: those of the architecture with a number in its
 * table.
 */
function callsOfTables(store: DiagramStore, architecture: Architecture): Node {
  const known = new Set(syscallNumbers(architecture).values());
  const ranges = Array.from({ length: largest(known) + 2 }, (_, number) => ({
    from: number,
    answer: known.has(number) ? TRUE : FALSE,
  }));
  return store.choose(
    wordIs(store, ARCH_WORD, AUDIT_ARCH[architecture]),
    byNumberRange(store, ranges),
    FALSE,
  );
}

function mismatch(why: string, found?: CallWitness): Error {
  return entitlementsError('ENTITLEMENTS_MISCOMPILED', {
    kind: 'internal',
    attempted: 'prove that the seccomp filter is the profile',
    on: '',
    why,
    fix: 'the container is not started; report this with the profile: the compiler is wrong, not the profile',
    ...(found !== undefined && { details: { witness: plain(found) } }),
  });
}

/** Converts a witness to JSON values. */
function plain(found: CallWitness): object {
  return { ...found, args: found.args.map((value) => `0x${value.toString(16)}`) };
}

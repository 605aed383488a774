import { largest } from '../../base/lists/index.ts';
import { entitlementsError } from '../errors.ts';
import { ENOSYS } from '../seccomp/outcome.ts';
import { readOciSeccomp } from '../seccomp/oci-shape.ts';
import type { OciArgument, OciRule } from '../seccomp/oci-shape.ts';
import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import type { Architecture } from '../types.ts';
import { answerOf, answerOfOutcome } from './answer.ts';
import { and, ARCH_WORD, argumentVariable, not, or } from './conditions.ts';
import { FALSE, TRUE } from './node-table.ts';
import type { DiagramStore } from './diagram.ts';
import type { Node } from './node-table.ts';
import { byNumberRange, wordIs } from './policy-diagram.ts';
import type { NumberRange } from './policy-diagram.ts';

/** SECCOMP_RET_* of the actions of config-linux.md#seccomp. errno and trace include errnoRet. */
const ACTIONS: ReadonlyMap<string, number> = new Map([
  ['SCMP_ACT_ALLOW', 0x7fff0000],
  ['SCMP_ACT_LOG', 0x7ffc0000],
  ['SCMP_ACT_TRACE', 0x7ff00000],
  ['SCMP_ACT_NOTIFY', 0x7fc00000],
  ['SCMP_ACT_ERRNO', 0x00050000],
  ['SCMP_ACT_TRAP', 0x00030000],
  ['SCMP_ACT_KILL', 0x00000000],
  ['SCMP_ACT_KILL_THREAD', 0x00000000],
  ['SCMP_ACT_KILL_PROCESS', 0x80000000],
]);

const X32_BIT = 0x40000000;

/**
 * Returns the answers of an OCI seccomp object, as a function of all calls of one architecture, under the
 * intended semantics of runc and libseccomp (runc, libcontainer/seccomp; crun does the same):
 * - a rule whose action equals the default is skipped, and so is a name that the architecture does not have;
 * - all conditions of one rule must hold, unless an argument occurs in two of them: then each is a separate
 *   rule;
 * - several rules for one name are alternatives; comparisons use all 64 bits;
 * - calls of other architectures, and x32 calls, kill the thread.
 * @param options.newest the highest number that libseccomp knows: names above it are skipped; all are known
 *   if absent
 * @param options.loadedBy the runtime whose program is meant, if it is not libseccomp's: calls newer than the
 *   tables get ENOSYS in place of a default errno. runc changes libseccomp's program in this way
 *   (libcontainer/seccomp/patchbpf), and crun loads our own, in which the call -1 has no exception
 * @throws ENTITLEMENTS_BAD_SECCOMP; ENTITLEMENTS_UNPROVED if rules with different actions match one call,
 * because libseccomp does not define the answer; ENTITLEMENTS_TOO_COMPLEX
 */
export function diagramOfOci(
  store: DiagramStore,
  json: unknown,
  architecture: Architecture,
  { newest = Infinity, loadedBy }: { readonly newest?: number; readonly loadedBy?: 'crun' | 'runc' } = {},
): Node {
  const oci = readOciSeccomp(json);
  const numbers = syscallNumbers(architecture);
  const fallback = store.leaf(actionOf(oci.defaultAction, oci.defaultErrnoRet));
  const byName = new Map<string, Map<Node, Node>>();
  for (const rule of oci.syscalls) {
    const action = store.leaf(actionOf(rule.action, rule.errnoRet));
    if (action === fallback) continue;
    const when = conditionOfRule(store, rule);
    for (const name of rule.names) {
      const number = numbers.get(name);
      if (number === undefined || number > newest) continue;
      const rules = byName.get(name) ?? new Map<Node, Node>();
      rules.set(action, or(store, rules.get(action) ?? FALSE, when));
      byName.set(name, rules);
    }
  }
  const byNumber = new Map<number, Node>();
  for (const [name, rules] of byName) {
    let [answer, taken] = [fallback, FALSE];
    for (const [action, when] of rules) {
      if (and(store, taken, when) !== FALSE) throw ambiguous(name);
      taken = or(store, taken, when);
      answer = store.choose(when, action, answer);
    }
    byNumber.set(numbers.get(name) ?? 0, answer);
  }
  const last = largest(numbers.values());
  const ranges: NumberRange[] = [];
  for (let number = 0; number <= last; number++)
    ranges.push({ from: number, answer: byNumber.get(number) ?? fallback });
  const isRefusal = loadedBy !== undefined && oci.defaultAction === 'SCMP_ACT_ERRNO';
  ranges.push({ from: last + 1, answer: isRefusal ? store.leaf(answerOfOutcome(ENOSYS)) : fallback });
  const killed = store.leaf(answerOf(0));
  // libseccomp gives -1, with which a tracer skips a call, the default answer.
  if (architecture === 'x86_64') ranges.push({ from: X32_BIT, answer: killed });
  if (architecture === 'x86_64' && loadedBy !== 'crun') ranges.push({ from: 0xffffffff, answer: fallback });
  return store.choose(
    wordIs(store, ARCH_WORD, AUDIT_ARCH[architecture]),
    byNumberRange(store, ranges),
    killed,
  );
}

function actionOf(name: string, errnoRet: number | undefined): number {
  const action = ACTIONS.get(name);
  if (action === undefined) throw unknown(name);
  const carries = name === 'SCMP_ACT_ERRNO' || name === 'SCMP_ACT_TRACE';
  return answerOf(carries ? (action | ((errnoRet ?? 1) & 0xffff)) >>> 0 : action);
}

function conditionOfRule(store: DiagramStore, { args }: OciRule): Node {
  const repeated = new Set(args.map((arg) => arg.index)).size < args.length;
  return args.reduce(
    (all, arg) => (repeated ? or : and)(store, all, conditionOfArgument(store, arg)),
    repeated ? FALSE : TRUE,
  );
}

function conditionOfArgument(store: DiagramStore, { index, op, value, valueTwo }: OciArgument): Node {
  const ordered = (whenEqual: Node, wanted: 'above' | 'below'): Node => {
    let found = whenEqual;
    for (let bit = 0; bit < 64; bit++) {
      const set = ((value >> BigInt(bit)) & 1n) === 1n;
      const differs = set === (wanted === 'below') ? TRUE : FALSE;
      found = set
        ? store.decide(argumentVariable(index, bit), found, differs)
        : store.decide(argumentVariable(index, bit), differs, found);
    }
    return found;
  };
  const masked = (mask: bigint, wanted: bigint): Node => {
    let found = TRUE;
    for (let bit = 0; bit < 64; bit++) {
      if (((mask >> BigInt(bit)) & 1n) === 0n) continue;
      const level = argumentVariable(index, bit);
      found =
        ((wanted >> BigInt(bit)) & 1n) === 1n
          ? store.decide(level, found, FALSE)
          : store.decide(level, FALSE, found);
    }
    return found;
  };
  const all = (1n << 64n) - 1n;
  switch (op) {
    case 'SCMP_CMP_EQ':
      return masked(all, value);
    case 'SCMP_CMP_NE':
      return not(store, masked(all, value));
    case 'SCMP_CMP_LT':
      return ordered(FALSE, 'below');
    case 'SCMP_CMP_LE':
      return ordered(TRUE, 'below');
    case 'SCMP_CMP_GE':
      return ordered(TRUE, 'above');
    case 'SCMP_CMP_GT':
      return ordered(FALSE, 'above');
    case 'SCMP_CMP_MASKED_EQ':
      return masked(value, valueTwo);
  }
}

function unknown(action: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_SECCOMP', {
    kind: 'invalid',
    attempted: 'read seccomp profile',
    on: action,
    why: 'it is not an action',
    fix: 'write it as the OCI runtime specification describes (config-linux.md, Seccomp)',
  });
}

function ambiguous(name: string): Error {
  return entitlementsError('ENTITLEMENTS_UNPROVED', {
    kind: 'denied',
    attempted: 'prove seccomp profile',
    on: name,
    why: 'rules of different actions match one call, and libseccomp does not say which counts',
    fix: 'write rules that do not overlap',
  });
}

import { append } from '../../base/lists/index.ts';
import { entitlementsError } from '../errors.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { MULTIPLEXED } from '../seccomp/compat-calls.ts';
import { compatCalls, compatDecision } from '../seccomp/compat.ts';
import { exceeds } from '../seccomp/decision.ts';
import { exportOci } from '../seccomp/oci-export.ts';
import { decisionFor, joinPolicies } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import { syscallNumbers } from '../seccomp/syscalls.ts';
import type { Settings } from '../types.ts';
import { basePolicy } from './base-set.ts';
import type { Target } from './target.ts';

/**
 * Compiles the seccomp filter of a profile, with the calls that the OCI runtime needs to start a container.
 * @param degraded gets a sentence for each difference between the profile and the filter
 * @param launched whether the launcher runs first, which needs calls of its own
 * @throws ENTITLEMENTS_UNSUPPORTED if the kernel has no seccomp; ENTITLEMENTS_TOO_COMPLEX
 */
export function compiledFilter(
  policy: FilteredPolicy,
  target: Target,
  degraded: string[],
  launched: boolean,
): NonNullable<Settings['seccomp']> {
  if (!target.kernel.seccomp) {
    throw entitlementsError('ENTITLEMENTS_UNSUPPORTED', {
      kind: 'precondition',
      attempted: 'compile profile',
      on: '',
      why: 'the profile filters system calls and this kernel has no seccomp filters',
      fix: 'run a kernel with CONFIG_SECCOMP_FILTER, or use a profile that is unfiltered',
    });
  }
  const numbers = syscallNumbers(target.architecture);
  const base = basePolicy(target.runtime, launched);
  const added = [...base.rules].filter(
    ([name, needed]) => numbers.has(name) && exceeds(decisionFor(policy, name), needed) !== undefined,
  );
  const withBase = joinPolicies(policy, base);
  const filter = withBase.filtered ? withBase : policy;
  if (added.length > 0) {
    const names = added.map(([name]) => name).join(', ');
    degraded.push(
      `${target.runtime} needs these system calls to start a container, so they stay allowed: ${names}`,
    );
  }
  if (policy.fallback === 'allow' || policy.fallback === 'log') {
    const unknown = [...policy.rules.keys()].filter((name) => !numbers.has(name));
    if (unknown.length > 0)
      degraded.push(
        `these names are not system calls on ${target.architecture}, so their rules have no effect: ${unknown.join(', ')}`,
      );
  }
  append(degraded, compatSentences(policy, target));
  return {
    bpf: generateBpf(filter, target.architecture, policy),
    oci: exportOci(filter, target.architecture),
  };
}

/**
 * Returns sentences about the compatibility architectures that a policy names, where the result differs from
 * the policy. Each difference is tighter.
 */
function compatSentences(policy: FilteredPolicy, target: Target): string[] {
  if (policy.compat.length === 0) return [];
  const found: string[] = [];
  const here = compatCalls(policy, target.architecture).map(({ name }) => name);
  const absent = policy.compat.filter((name) => !here.includes(name));
  if (absent.length > 0) found.push(`${target.architecture} cannot run programs of ${absent.join(', ')}`);
  if (here.length > 0 && target.runtime !== 'crun') {
    // libseccomp adds a socketcall without conditions to each conditional rule on socket (src/arch-x86.c).
    found.push(
      `only crun supports filters for ${here.join(', ')}: under ${target.runtime} their calls are killed`,
    );
  } else if (here.includes('x86')) {
    const answers = Object.keys(MULTIPLEXED).map(
      (call) => `${call} answers ${compatDecision(policy, 'x86', call).otherwise}`,
    );
    found.push(
      `x86 programs hide the arguments of sockets and System V IPC in memory, so each gets the answer of its tightest call: ${answers.join(', ')}`,
    );
  }
  return found;
}

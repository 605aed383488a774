/**
 * `npm run bench:proof`: measures the cost of proving a filter: the default profile's proof, first in a
 * process and warm; through the prover's Worker as a container's creation pays for it, once per profile and
 * afterwards; random policies. Ends with one line.
 */
import { compile, createProver, defaultProfile } from '../entitlements/index.ts';
import type { Target } from '../entitlements/index.ts';
import { checkPolicy } from '../entitlements/proof/fixtures/check-policy.ts';
import { proveFilter } from '../entitlements/proof/prove.ts';
import { basePolicy } from '../entitlements/compile/base-set.ts';

const target: Target = {
  architecture: 'x86_64',
  runtime: 'crun',
  kernel: { seccomp: true, apparmor: false, expanded: {} },
};
const profile = defaultProfile();
const { seccomp } = compile(profile, target);
const subject = {
  policy: profile.syscalls,
  architecture: target.architecture,
  base: basePolicy(target.runtime),
};

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

async function timed(body: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await body();
  return performance.now() - start;
}

const first = proveFilter(subject, seccomp);
const warm = median(Array.from({ length: 50 }, () => proveFilter(subject, seccomp).milliseconds));
const prover = createProver();
const started = await timed(() => prover.settings(profile, target));
const next = await timed(() => prover.settings(profile, { ...target, runtime: 'runc' }));
const known = median(
  await Promise.all(Array.from({ length: 50 }, () => timed(() => prover.settings(profile, target)))),
);
await prover.close();
const random = median(
  Array.from({ length: 300 }, (_, seed) => {
    const start = performance.now();
    checkPolicy(seed);
    return performance.now() - start;
  }),
);
console.log(
  `default profile, first proof of a process      ${first.milliseconds.toFixed(1)} ms, ${first.nodes} nodes`,
);
console.log(`default profile, warm                          ${warm.toFixed(1)} ms`);
console.log(`compiled and proved, with the Worker's start   ${started.toFixed(0)} ms`);
console.log(`compiled and proved, another target            ${next.toFixed(1)} ms`);
console.log(`known                                          ${known.toFixed(2)} ms`);
console.log(`a random policy, compiled, proved and sampled  ${random.toFixed(1)} ms`);
console.log(
  `bench:proof: default profile ${first.milliseconds.toFixed(1)} ms first, ${warm.toFixed(1)} ms warm, ${known.toFixed(2)} ms known`,
);

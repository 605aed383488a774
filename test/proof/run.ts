/**
 * `npm run test:proof -- [--policies N] [--seed S] [--z3 N] [--kernel N] [--libseccomp N] [--mutants N]
 * [--programs N]`
 *
 * Compares the prover and the compiler with each other and with three judges that share no code with them:
 * the emulator, Z3 and the running kernel; counts the errors that the prover finds in libseccomp's output.
 * The same seed gives the same run. Prints one closing line; exits 1 at the first difference.
 */
import { parseArgs } from 'node:util';
import assert from 'node:assert/strict';
import { DEFAULT_CAPABILITIES } from '../../entitlements/capabilities/capability-names.ts';
import { checkOnKernel } from '../../entitlements/proof/fixtures/check-on-kernel.ts';
import { checkPolicy } from '../../entitlements/proof/fixtures/check-policy.ts';
import { checkMutant, checkRandomProgram } from '../../entitlements/proof/fixtures/check-program.ts';
import { filteredProbe } from '../../entitlements/proof/fixtures/filtered-probe.ts';
import { findMiscompilations, withoutLibseccomp } from '../../entitlements/proof/fixtures/miscompilations.ts';
import { generateBpf } from '../../entitlements/seccomp/bpf-generator.ts';
import { defaultPolicy } from '../../entitlements/seccomp/default-policy.ts';
import { openOracle } from './z3.ts';

const { values } = parseArgs({
  options: {
    policies: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    z3: { type: 'string', default: '50' },
    kernel: { type: 'string', default: '200' },
    // With 400 policies, seeds 1 to 12 show 28 to 50 errors: 1000 is enough for any seed to show more than
    // 32.
    libseccomp: { type: 'string', default: '1000' },
    mutants: { type: 'string', default: '2000' },
    programs: { type: 'string', default: '200' },
  },
});
const count = (text: string): number => {
  if (!/^\d{1,9}$/.test(text)) throw new TypeError(`${text} is not a count`);
  return Number(text);
};
const seed = count(values.seed);
/** Seeds of different parts and runs do not collide. */
const seedOf = (part: number, at: number): number =>
  Math.imul(seed, 0x9e3779b1) + Math.imul(part, 0x85ebca6b) + at;
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const closing: string[] = [];
const report = (text: string): void => {
  closing.push(text);
  say(text);
};

function* numbers(of: string): Generator<number> {
  for (let at = 0; at < count(of); at++) yield at;
}

/** Z3, compiled to WebAssembly, has too small a stack for terms as deep as the longest programs. */
const LONGEST_FOR_Z3 = 400;

const start = performance.now();
const oracle = count(values.z3) > 0 ? openOracle() : undefined;
let [proved, refused, samples, byZ3] = [0, 0, 0, 0];
// A policy that is refused as too complex was not proved: another one replaces it.
for (let at = 0; proved < count(values.policies); at++) {
  const architecture = at % 4 === 3 ? 'aarch64' : 'x86_64';
  const checked = checkPolicy(seedOf(1, at), architecture);
  if (checked === 'too complex') {
    refused += 1;
    continue;
  }
  proved += 1;
  samples += checked.calls;
  if (oracle !== undefined && byZ3 < count(values.z3) && checked.bpf.length <= 8 * LONGEST_FOR_Z3) {
    const difference = await oracle.difference(checked.policy, checked.bpf, architecture);
    assert.equal(
      difference,
      undefined,
      `Z3 finds a call on which policy ${seedOf(1, at)} and its program differ`,
    );
    byZ3 += 1;
  }
  if (proved % 10_000 === 0) say(`${proved} policies`);
}
oracle?.close();
report(
  `${proved} policies equal their programs by the diagram, ${samples} calls of them by the emulator, ${byZ3} by Z3; ${refused} were refused as too complex`,
);

if (process.arch === 'x64' && count(values.kernel) > 0) {
  const probe = filteredProbe();
  try {
    let calls = 0;
    for (const at of numbers(values.kernel)) calls += checkOnKernel(seedOf(2, at), probe);
    report(`the kernel agrees on ${count(values.kernel)} policies (${calls} calls)`);
  } finally {
    probe.remove();
  }
}

let programs = 0;
for (const at of numbers(values.programs)) if (checkRandomProgram(seedOf(3, at)) === 'agree') programs += 1;
if (count(values.programs) > 0)
  report(
    `diagram and emulator agree on ${programs} random programs of all opcodes; ${count(values.programs) - programs} were refused as too complex`,
  );

const standard = defaultPolicy(DEFAULT_CAPABILITIES);
assert.ok(standard.filtered);
const original = generateBpf(standard, 'x86_64');
const became = { rejected: 0, 'too complex': 0, equal: 0, differs: 0 };
let slowest = 0;
for (const at of numbers(values.mutants)) {
  const mutant = checkMutant(seedOf(4, at), original);
  became[mutant.became] += 1;
  slowest = Math.max(slowest, mutant.milliseconds);
}
assert.ok(slowest < 2500, `a mutant took ${slowest} ms`);
if (count(values.mutants) > 0)
  report(
    `of ${count(values.mutants)} mutants ${became.rejected} are refused, ${became.differs} differ by a call that the emulator sees, ${became.equal} are equal, ${became['too complex']} too complex; the slowest took ${Math.round(slowest)} ms`,
  );

if (withoutLibseccomp === false && count(values.libseccomp) > 0) {
  const { compared, found } = findMiscompilations(count(values.libseccomp), seed);
  for (const { witness } of found.slice(0, 5)) say(`  ${witness.sentence}`);
  const more = found.filter(({ grantsMore }) => grantsMore).length;
  report(
    `libseccomp compiled ${found.length} of ${compared} policies wrongly: ${more} grant more, ${found.length - more} only deny what is allowed`,
  );
} else if (withoutLibseccomp !== false) report(withoutLibseccomp);

say(`proof: seed ${seed}, ${Math.round((performance.now() - start) / 1000)} s: ${closing.join('; ')}`);

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import type { Architecture } from '../types.ts';
import { assemble, decode, JMP_JEQ_K } from './bpf-assembler.ts';
import type { Instruction, Line } from './bpf-assembler.ts';
import { emulate } from './fixtures/bpf-emulator.ts';
import { generateBpf } from './bpf-generator.ts';
import { defaultPolicy } from './default-policy.ts';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { decide } from './decision.ts';
import { beyondTables, returnValue } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import { decisionFor } from './policy.ts';
import type { FilteredPolicy } from './policy.ts';
import { AUDIT_ARCH, syscallNumbers } from './syscalls.ts';
import { arbitraries, boundaryArguments, CALLS } from './fixtures/arbitrary-policy.ts';

const ARCHITECTURES: readonly Architecture[] = ['x86_64', 'aarch64'];

function answers(
  program: readonly Instruction[],
  architecture: Architecture,
  nr: number,
  args: readonly bigint[],
): number {
  return emulate(program, { arch: AUDIT_ARCH[architecture], nr, args }).value;
}

function assertAnswer(
  program: readonly Instruction[],
  architecture: Architecture,
  nr: number,
  args: readonly bigint[],
  expected: Outcome,
): void {
  assert.equal(
    answers(program, architecture, nr, args),
    returnValue(expected),
    `${architecture} ${nr}(${args.join(', ')}) is not ${expected}`,
  );
}

function defaultFilter(): FilteredPolicy {
  const policy = defaultPolicy(DEFAULT_CAPABILITIES);
  assert.ok(policy.filtered);
  return policy;
}

const random = arbitraries(fc);

describe('the BPF generator', () => {
  it('makes programs that answer as the policy does: random policies, random and boundary arguments, every number', () => {
    fc.assert(
      fc.property(
        random.policy,
        fc.array(random.args, { minLength: 5, maxLength: 10 }),
        (policy, samples) => {
          for (const architecture of ARCHITECTURES) {
            const program = decode(generateBpf(policy, architecture));
            const numbers = syscallNumbers(architecture);
            for (const call of CALLS) {
              const nr = numbers.get(call);
              if (nr === undefined) continue;
              const of = decisionFor(policy, call);
              for (const args of [...samples, ...boundaryArguments(of)])
                assertAnswer(program, architecture, nr, args, decide(of, args));
            }
            for (const [name, nr] of numbers)
              if (!policy.rules.has(name)) assertAnswer(program, architecture, nr, [], policy.fallback);
            assertAnswer(program, architecture, 472, [], beyondTables(policy.fallback));
            assertAnswer(program, architecture, 0x3fffffff, [], beyondTables(policy.fallback));
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('kills calls of other architectures and x32 calls', () => {
    const program = decode(generateBpf(defaultFilter(), 'x86_64'));
    for (const arch of [0x40000003, AUDIT_ARCH.aarch64, 0])
      assert.equal(emulate(program, { arch, nr: 0, args: [] }).value, 0);
    assertAnswer(program, 'x86_64', 0x40000000, [], 'kill-thread');
    assertAnswer(program, 'x86_64', 0xffffffff, [], 'kill-thread');
  });

  it('compares int arguments in 32 bits: no address family passes with a high bit set', () => {
    const program = decode(generateBpf(defaultFilter(), 'x86_64'));
    const cases: [bigint, Outcome][] = [
      [2n, 'allow'],
      [37n, 'allow'],
      [38n, 'errno 1'],
      [39n, 'allow'],
      [40n, 'errno 1'],
      [46n, 'errno 1'],
      [0x100000026n, 'errno 1'],
      [0x100000028n, 'errno 1'],
      [0x100000002n, 'allow'],
      [0xffffffff_ffffffffn, 'errno 1'],
    ];
    for (const [family, expected] of cases) assertAnswer(program, 'x86_64', 41, [family, 1n], expected);
  });

  it('is short: the default profile takes at most half of libseccomp’s 337 instructions, and runs few of them for each call', () => {
    const program = decode(generateBpf(defaultFilter(), 'x86_64'));
    assert.ok(program.length <= 168, `${program.length} instructions`);
    const executed = [...syscallNumbers('x86_64').values()].map(
      (nr) => emulate(program, { arch: AUDIT_ARCH.x86_64, nr, args: [] }).executed,
    );
    const average = executed.reduce((sum, count) => sum + count, 0) / executed.length;
    assert.ok(average <= 12, `${average} instructions a call on average`);
  });

  it('reaches labels farther than a conditional jump does', () => {
    const filler: Line[] = Array.from({ length: 300 }, () => ({ op: 'and', k: 0xffffffff }));
    const lines: Line[] = [
      { op: 'load', offset: 0 },
      { op: 'if', code: JMP_JEQ_K, k: 7, yes: 'seven', no: 'other' },
      ...filler,
      { op: 'label', label: 'seven' },
      { op: 'return', k: 1 },
      { op: 'label', label: 'other' },
      { op: 'return', k: 2 },
    ];
    const program = assemble(lines);
    assert.deepEqual(
      [7, 8].map((nr) => emulate(program, { arch: 0, nr, args: [] }).value),
      [1, 2],
    );
  });

  it('refuses a policy that would exceed the kernel’s 4096 instructions', () => {
    const policy: FilteredPolicy = { ...defaultFilter(), rules: hugeRules() };
    assert.throws(() => generateBpf(policy, 'x86_64'), { code: 'ENTITLEMENTS_TOO_COMPLEX' });
  });
});

/** Returns a different condition for each of 300 calls. */
function hugeRules(): FilteredPolicy['rules'] {
  const names = [...syscallNumbers('x86_64').keys()].slice(0, 300);
  return new Map(
    names.map((name, at) => [
      name,
      {
        otherwise: 'errno 1',
        pieces: [0n, 1n].map((offset) => {
          const low = BigInt(at) * 0x100000001n + offset * 50n;
          return {
            outcome: 'allow',
            when: [{ index: 0, width: 64, low, high: low + 7n + (5n << 32n), mask: 0n, value: 0n }],
          } as const;
        }),
      },
    ]),
  );
}

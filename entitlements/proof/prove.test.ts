import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { basePolicy } from '../compile/base-set.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { always, decision } from '../seccomp/decision.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { exportOci } from '../seccomp/oci-export.ts';
import { filteredPolicy, joinPolicies, UNFILTERED } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import type { Architecture } from '../types.ts';
import { checkPolicy } from './fixtures/check-policy.ts';
import { proveFilter } from './prove.ts';
import type { Proof, ProofSubject } from './prove.ts';
import { processorMs } from '../../test/fixtures/cost.ts';

function standard(): FilteredPolicy {
  const policy = defaultPolicy(DEFAULT_CAPABILITIES);
  assert.ok(policy.filtered);
  return policy;
}

function filterOf(policy: FilteredPolicy, architecture: Architecture = 'x86_64') {
  return { bpf: generateBpf(policy, architecture), oci: exportOci(policy, architecture) };
}

/** Returns the default policy with one wrong decision, as a wrong generator would compile it. */
function wrong(name: string): FilteredPolicy {
  return filteredPolicy(standard().fallback, [...standard().rules, [name, always('allow')] as const]);
}

function refused(prove: () => Proof): { code: string; why: string; witness: unknown } {
  try {
    prove();
  } catch (error) {
    if (isPortcullisError(error))
      return { code: error.code, why: error.failure.why, witness: error.failure.details?.['witness'] };
    throw error;
  }
  throw new Error('it was proved');
}

const subject: ProofSubject = { policy: standard(), architecture: 'x86_64' };

describe('the proof of a filter', () => {
  it('holds for the default profile on both architectures, with each runtime’s base set', () => {
    for (const architecture of ['x86_64', 'aarch64'] as const) {
      for (const runtime of ['crun', 'runc', 'other']) {
        const base = basePolicy(runtime);
        const joined = joinPolicies(standard(), base);
        assert.ok(joined.filtered);
        assert.ok(
          proveFilter({ policy: standard(), architecture, base }, filterOf(joined, architecture)).nodes >
            1000,
        );
      }
    }
  });

  it('holds for random policies: ranges, masks, all operators, several rules a call', () => {
    const checked = Array.from({ length: 400 }, (_, seed) =>
      checkPolicy(seed, seed % 2 === 0 ? 'x86_64' : 'aarch64'),
    );
    assert.ok(checked.filter((one) => one !== 'too complex').length > 380);
  });

  it('refuses a program that grants more, with the call in words', () => {
    const { oci } = filterOf(standard());
    const found = refused(() => proveFilter(subject, { bpf: generateBpf(wrong('socket'), 'x86_64'), oci }));
    assert.equal(found.code, 'ENTITLEMENTS_MISCOMPILED');
    assert.equal(found.why, 'x86_64 socket(15): the profile says errno 1, the program answers allow');
    assert.deepEqual(found.witness, {
      architecture: 'x86_64',
      name: 'socket',
      nr: 41,
      args: ['0xf', '0x0', '0x0', '0x0', '0x0', '0x0'],
      left: 'errno 1',
      right: 'allow',
      sentence: found.why,
    });
  });

  it('refuses a program of 64-bit comparisons where the kernel reads 32: the gap of moby’s profile', () => {
    const socket = (width: 32 | 64): FilteredPolicy => {
      const tests = [argumentTest(0, width, { high: 37n }), argumentTest(0, width, { low: 41n })].filter(
        (test) => test !== undefined,
      );
      return filteredPolicy('errno 1', [
        [
          'socket',
          decision(
            'errno 1',
            tests.map((test) => ({ outcome: 'allow', when: [test] })),
          ),
        ],
      ]);
    };
    const { why } = refused(() => proveFilter({ ...subject, policy: socket(32) }, filterOf(socket(64))));
    assert.equal(why, 'x86_64 socket(0x100000026): the profile says errno 1, the program answers allow');
  });

  it('refuses one wrong bit anywhere in the program', () => {
    const filter = filterOf(standard());
    for (let at = 0; at < filter.bpf.length; at += 37) {
      const bpf = Uint8Array.from(filter.bpf);
      bpf[at] = (bpf[at] ?? 0) ^ 1;
      // Data that the kernel does not read (the jumps of loads and returns) may have any value.
      if (at % 8 === 2 || at % 8 === 3) continue;
      assert.match(
        refused(() => proveFilter(subject, { ...filter, bpf }, { nodes: 100_000 })).code,
        /MISCOMPILED|BAD_FILTER|TOO_COMPLEX/,
        `byte ${at}`,
      );
    }
  });

  it('refuses an OCI object with other answers', () => {
    const { bpf } = filterOf(standard());
    const found = refused(() => proveFilter(subject, { bpf, oci: exportOci(wrong('socket'), 'x86_64') }));
    assert.equal(
      found.why,
      'x86_64 socket(15): the profile says errno 1, the OCI seccomp object answers allow',
    );
  });

  it('refuses what an older libseccomp would allow, for a runtime that compiles the OCI object', () => {
    const open = filteredPolicy('allow', [
      ['mseal', always('errno 1')],
      ['mount', always('errno 1')],
    ]);
    const older = { policy: open, architecture: 'x86_64', compiledByRuntime: true } as const;
    const found = refused(() => proveFilter(older, filterOf(open)));
    assert.equal(found.code, 'ENTITLEMENTS_UNPROVED');
    assert.equal(
      found.why,
      'x86_64 mseal(): the profile says errno 1, a libseccomp that does not know it answers allow',
    );
    assert.ok(proveFilter({ ...older, compiledByRuntime: false }, filterOf(open)).nodes > 0);
    const known = filteredPolicy('allow', [['mount', always('errno 1')]]);
    assert.ok(proveFilter({ ...older, policy: known }, filterOf(known)).nodes > 0);
    assert.ok(proveFilter({ ...subject, compiledByRuntime: true }, filterOf(standard())).nodes > 0);
  });

  it('refuses a filter if none is expected, and a missing filter if one is expected', () => {
    assert.match(
      refused(() => proveFilter({ ...subject, policy: UNFILTERED }, filterOf(standard()))).why,
      /filters no system call/,
    );
    assert.match(refused(() => proveFilter(subject, undefined)).why, /no filter was made/);
    assert.deepEqual(proveFilter({ ...subject, policy: UNFILTERED }, undefined), {
      nodes: 0,
      milliseconds: 0,
    });
  });

  it('takes at most 100 ms for the default profile', () => {
    const filter = filterOf(standard());
    const times = Array.from({ length: 5 }, () => proveFilter(subject, filter).milliseconds);
    assert.ok(Math.min(...times) <= 100, times.join(' '));
  });

  it('refuses within two seconds of processor time what it cannot prove', () => {
    // arg0 and arg1 have a bit in common: a diagram that decides all of arg0 first must remember it
    // completely.
    const pieces = Array.from({ length: 32 }, (_, bit) => {
      const tests = [0, 1].map((index) =>
        argumentTest(index, 64, { mask: 1n << BigInt(bit), value: 1n << BigInt(bit) }),
      );
      return { outcome: 'allow' as const, when: tests.filter((test) => test !== undefined) };
    });
    const policy = filteredPolicy('errno 1', [['mmap', decision('errno 1', pieces)]]);
    const start = processorMs();
    const { code } = refused(() =>
      proveFilter({ policy, architecture: 'x86_64' }, filterOf(policy), { milliseconds: 500 }),
    );
    assert.equal(code, 'ENTITLEMENTS_TOO_COMPLEX');
    assert.ok(processorMs() - start < 2000);
  });
});

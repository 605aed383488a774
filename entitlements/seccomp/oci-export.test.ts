import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import type { OciSeccomp } from '../types.ts';
import { decode } from './bpf-assembler.ts';
import { emulate } from './fixtures/bpf-emulator.ts';
import { decide } from './decision.ts';
import { defaultPolicy } from './default-policy.ts';
import { arbitraries, boundaryArguments, CALLS } from './fixtures/arbitrary-policy.ts';
import { exportOci } from './oci-export.ts';
import { policyFromOci } from './oci-import.ts';
import { returnValue } from './outcome.ts';
import { decisionFor, policyExcess } from './policy.ts';
import type { FilteredPolicy } from './policy.ts';
import { AUDIT_ARCH, syscallNumbers } from './syscalls.ts';

const PYTHON = '/usr/bin/python3';
const COMPILER = fileURLToPath(new URL('fixtures/libseccomp.py', import.meta.url));
/** The newest call of x86_64 that libseccomp 2.5.4 knows. */
const LAST_KNOWN = 450;

const withoutLibseccomp =
  spawnSync(PYTHON, ['-c', 'import seccomp']).status === 0 ? false : 'python3-seccomp is not installed';

/** Returns the program that libseccomp compiles from each object. */
function byLibseccomp(objects: readonly OciSeccomp[]): Buffer[] {
  const input = objects
    .map((oci) =>
      JSON.stringify(oci, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
    )
    .join('\n');
  const { stdout, stderr, status } = spawnSync(PYTHON, [COMPILER], {
    input,
    maxBuffer: 1 << 26,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => Buffer.from(line, 'hex'));
}

/** Returns the calls for which a program and the policy differ. */
function differences(policy: FilteredPolicy, bpf: Uint8Array): string[] {
  const program = decode(bpf);
  const found: string[] = [];
  for (const [name, nr] of syscallNumbers('x86_64')) {
    if (nr > LAST_KNOWN || nr === 335 || nr === 336) continue;
    const of = decisionFor(policy, name);
    for (const args of [[], ...boundaryArguments(of)]) {
      const { value } = emulate(program, { arch: AUDIT_ARCH.x86_64, nr, args });
      const expected = decide(of, args);
      if (value !== returnValue(expected))
        found.push(`${name}(${args.join(', ')}): 0x${value.toString(16)}, not ${expected}`);
    }
  }
  return found;
}

/** Random policies are sometimes too complex, and are then refused. */
function unlessTooComplex<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    if (!isPortcullisError(error) || error.code !== 'ENTITLEMENTS_TOO_COMPLEX') throw error;
    return undefined;
  }
}

function exported(policy: FilteredPolicy): OciSeccomp | undefined {
  return unlessTooComplex(() => exportOci(policy, 'x86_64'));
}

const random = arbitraries(fc);

describe('the OCI export', () => {
  it('means the default policy when libseccomp compiles it', { skip: withoutLibseccomp }, () => {
    const policy = defaultPolicy(DEFAULT_CAPABILITIES);
    assert.ok(policy.filtered);
    const [bpf] = byLibseccomp([exportOci(policy, 'x86_64')]);
    assert.ok(bpf !== undefined);
    assert.deepEqual(differences(policy, bpf), []);
  });

  it('means the policy when libseccomp compiles it, for random policies', { skip: withoutLibseccomp }, () => {
    const cases = fc.sample(random.policy, { numRuns: 60, seed: 1 }).flatMap((policy) => {
      const oci = exported(policy);
      return oci === undefined || oci.syscalls.length > 2000 ? [] : [{ policy, oci }];
    });
    assert.ok(cases.length >= 30);
    const programs = byLibseccomp(cases.map(({ oci }) => oci));
    cases.forEach(({ policy }, at) =>
      assert.deepEqual(differences(policy, programs[at] ?? Buffer.alloc(0)), []),
    );
  });

  it('repeats no argument index in a rule, and compares only by masks', () => {
    fc.assert(
      fc.property(random.policy, (policy) => {
        for (const rule of exported(policy)?.syscalls ?? []) {
          const indexes = (rule.args ?? []).map((arg) => arg.index);
          assert.equal(new Set(indexes).size, indexes.length);
          assert.ok((rule.args ?? []).every((arg) => arg.op === 'SCMP_CMP_MASKED_EQ'));
        }
      }),
      { numRuns: 100 },
    );
  });

  it('refuses a call that needs more than 1024 rules, however many its pieces', () => {
    const refused = fc
      .sample(random.policy, { numRuns: 100, seed: 288 })
      .map((policy) => exported(policy)?.syscalls);
    assert.ok(refused.includes(undefined));
    for (const rules of refused) assert.ok((rules?.length ?? 0) <= CALLS.length * 1024);
  });

  it('is read back as the same policy', () => {
    fc.assert(
      fc.property(random.policy, (policy) => {
        const oci = exported(policy);
        if (oci === undefined || oci.syscalls.length > 200) return;
        unlessTooComplex(() => {
          const back = policyFromOci(oci);
          assert.equal(policyExcess(policy, back), undefined);
          assert.equal(policyExcess(back, policy), undefined);
        });
      }),
      { numRuns: 100 },
    );
  });

  it('has no name that the architecture lacks', () => {
    const policy = defaultPolicy(DEFAULT_CAPABILITIES);
    assert.ok(policy.filtered);
    const numbers = syscallNumbers('aarch64');
    for (const rule of exportOci(policy, 'aarch64').syscalls)
      for (const name of rule.names) assert.ok(numbers.has(name), name);
    assert.ok(CALLS.every((name) => numbers.has(name) || name === 'chmod'));
  });
});

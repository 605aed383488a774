import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { compile } from '../compile/compile.ts';
import { temporaryBundle } from '../compile/fixtures/container.ts';
import { executable, little, load, probeResults } from '../compile/fixtures/probe-program.ts';
import { detectKernel } from '../compile/kernel.ts';
import { builtinProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { exportOci } from '../seccomp/oci-export.ts';
import { policyFromOci } from '../seccomp/oci-import.ts';
import { meetPolicies, policyExcess, policyText } from '../seccomp/policy.ts';
import type { FilteredPolicy, SyscallPolicy } from '../seccomp/policy.ts';
import type { OciSeccomp } from '../types.ts';
import { meet } from './lattice.ts';

const ordinary = builtinProfile('default') as Profile;

function filtered(policy: SyscallPolicy): FilteredPolicy {
  assert.ok(policy.filtered);
  return policy;
}

/** docker's default as an OCI object. */
const docker = exportOci(filtered(ordinary.syscalls), 'x86_64');

/** Returns docker's default, with write allowed only under this condition on its descriptor. */
function withWrite(op: string, value: number): OciSeccomp {
  return {
    ...docker,
    syscalls: [
      ...docker.syscalls
        .map((rule) => ({ ...rule, names: rule.names.filter((name) => name !== 'write') }))
        .filter(({ names }) => names.length > 0),
      { names: ['write'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value, valueTwo: 0, op }] },
    ],
  };
}

/**
 * Writes zero bytes to each descriptor, and the results with writev to standard output, because write may be
 * denied there.
 */
function writer(descriptors: readonly bigint[]): Uint8Array {
  const code: number[] = [];
  for (const descriptor of descriptors) {
    load(code, [1n, descriptor, 0n, 0n]);
    code.push(0x0f, 0x05, 0x50); // syscall; push rax
    // push 8; lea rax, [rsp+8]; push rax: struct iovec
    code.push(0x6a, 0x08, 0x48, 0x8d, 0x44, 0x24, 0x08, 0x50);
    load(code, [20n, 1n]);
    // mov rsi, rsp; mov rdx, 1; syscall
    code.push(0x48, 0x89, 0xe6, 0x48, 0xba, ...little(1n, 8), 0x0f, 0x05);
    code.push(0x48, 0x83, 0xc4, 0x18); // add rsp, 24
  }
  load(code, [231n, 0n]);
  code.push(0x0f, 0x05);
  return executable(code);
}

function missing(): string | false {
  if (process.arch !== 'x64') return 'the probe program is x86_64 code';
  if (process.getuid?.() !== 0) return 'it takes root to start containers';
  for (const command of ['crun', 'runc', 'busybox', 'unshare'])
    if (spawnSync(command, ['--help']).error !== undefined) return `${command} is not installed`;
  return false;
}

describe('the meet of filters that other tools merge incorrectly', () => {
  it('docker’s default with itself is docker’s default, before and after OCI', () => {
    assert.equal(policyText(meet(ordinary, { ...ordinary }).syscalls), policyText(ordinary.syscalls));
    const again = meetPolicies(policyFromOci(docker), policyFromOci(structuredClone(docker)));
    assert.equal(policyExcess(ordinary.syscalls, policyFromOci(docker)), undefined);
    assert.equal(policyExcess(again, policyFromOci(docker)), undefined);
    assert.equal(policyExcess(policyFromOci(docker), again), undefined);
    assert.deepEqual(
      exportOci(filtered(again), 'x86_64'),
      exportOci(filtered(policyFromOci(docker)), 'x86_64'),
    );
  });

  describe('on the running kernel', { skip: missing() }, () => {
    let bundle: ReturnType<typeof temporaryBundle>;
    before(() => {
      bundle = temporaryBundle();
    });
    after(() => bundle.remove());

    for (const runtime of ['crun', 'runc'] as const)
      it(`write above 2 and write below 100 is write to 3…99, no more and no less (${runtime})`, () => {
        const policy = filtered(
          meetPolicies(
            policyFromOci(withWrite('SCMP_CMP_GT', 2)),
            policyFromOci(withWrite('SCMP_CMP_LT', 100)),
          ),
        );
        // This omits the runtime's base set, which grants write completely.
        const settings = {
          ...compile(ordinary, {
            architecture: 'x86_64',
            runtime,
            kernel: detectKernel(),
            heldCapabilities: [],
          }),
          seccomp: { bpf: generateBpf(policy, 'x86_64'), oci: exportOci(policy, 'x86_64') },
        };
        // The kernel reads 32 bits of a descriptor.
        const wide = [0x1_0000_0002n, 0x1_0000_0003n, 0x1_0000_0063n, 0x1_0000_0064n];
        const descriptors = [
          ...Array.from({ length: 131 }, (_, at) => BigInt(at)),
          0x7fff_ffffn,
          0xffff_ffffn,
          ...wide,
        ];
        writeFileSync(join(bundle.root, 'bin/writer'), writer(descriptors), { mode: 0o755 });
        const { status, stdout, stderr } = bundle.run(runtime, settings, ['/bin/writer']);
        assert.equal(status, 0, stderr);
        const allowed = descriptors.filter((_, at) => probeResults(stdout)[at] !== -1n);
        assert.deepEqual(allowed, [
          ...Array.from({ length: 97 }, (_, at) => BigInt(at + 3)),
          0x1_0000_0003n,
          0x1_0000_0063n,
        ]);
      });
  });
});

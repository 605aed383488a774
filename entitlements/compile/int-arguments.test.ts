import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { boundingCapabilities } from '../../base/kernel/index.ts';
import { builtinProfile } from '../profile/builtin.ts';
import { filteredProbe } from '../proof/fixtures/filtered-probe.ts';
import { argumentTest, maxOf } from '../seccomp/argument-test.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { clause } from '../seccomp/clause.ts';
import { decide, decision, isConstant } from '../seccomp/decision.ts';
import { boundaryArguments } from '../seccomp/fixtures/arbitrary-policy.ts';
import { errno } from '../seccomp/outcome.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import { argumentWidth, syscallNumbers } from '../seccomp/syscalls.ts';
import type { OciSeccomp, Settings } from '../types.ts';
import { compile } from './compile.ts';
import { temporaryBundle } from './fixtures/container.ts';
import type { Runtime } from './fixtures/container.ts';
import { probeProgram, probeResults } from './fixtures/probe-program.ts';
import type { RawCall } from './fixtures/probe-program.ts';
import { detectKernel } from './kernel.ts';

const NUMBERS = syscallNumbers('x86_64');
const SOCKET = NUMBERS.get('socket') ?? -1;
const [AF_ALG, AF_VSOCK, HIGH_BIT] = [38n, 40n, 1n << 32n];
const EPERM = -1n;
/** An errno that no call returns itself. */
const DENIED = 1001;

/**
 * The rules of moby's default profile for socket (github.com/moby/profiles, seccomp v0.2.3,
 * seccomp/default_linux.go, Apache-2.0).
 */
const MOBY_SOCKET: OciSeccomp['syscalls'] = [
  { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 38, op: 'SCMP_CMP_LT' }] },
  { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 39, op: 'SCMP_CMP_EQ' }] },
  { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 40, op: 'SCMP_CMP_GT' }] },
];

function missing(): string | false {
  if (process.arch !== 'x64') return 'the probe program is x86_64 code';
  if (process.getuid?.() !== 0) return 'it takes root to start containers';
  for (const command of ['crun', 'runc', 'busybox', 'unshare'])
    if (spawnSync(command, ['--help']).error !== undefined) return `${command} is not installed`;
  return false;
}

describe('int arguments on the running kernel', { skip: missing() }, () => {
  let bundle: ReturnType<typeof temporaryBundle>;
  let loaded: ReturnType<typeof filteredProbe>;
  before(() => {
    bundle = temporaryBundle();
    loaded = filteredProbe();
  });
  after(() => {
    bundle.remove();
    loaded.remove();
  });

  function standard(runtime: Runtime): Settings {
    const profile = builtinProfile('default');
    assert.ok(profile);
    return compile(profile, {
      architecture: 'x86_64',
      runtime,
      kernel: detectKernel(),
      heldCapabilities: boundingCapabilities(),
    });
  }

  /** Returns the same settings with moby's rules on socket, compiled by the runtime's libseccomp. */
  function asMoby(settings: Settings): Settings {
    assert.ok(settings.seccomp);
    const others = settings.seccomp.oci.syscalls.filter(({ names }) => !names.includes('socket'));
    return {
      ...settings,
      seccomp: {
        bpf: new Uint8Array(),
        oci: { ...settings.seccomp.oci, syscalls: [...others, ...MOBY_SOCKET] },
      },
    };
  }

  function probe(runtime: Runtime, settings: Settings, calls: readonly RawCall[]): bigint[] {
    writeFileSync(join(bundle.root, 'bin/probe'), probeProgram(calls), { mode: 0o755 });
    const { status, stdout, stderr } = bundle.run(runtime, settings, ['/bin/probe']);
    assert.equal(status, 0, stderr);
    return probeResults(stdout);
  }

  for (const runtime of ['crun', 'runc'] as const) {
    it(`${runtime}: AF_ALG and AF_VSOCK are refused with high bits too; under moby's rules they reach the kernel`, () => {
      const calls = [AF_ALG, AF_VSOCK, AF_ALG + HIGH_BIT, AF_VSOCK + HIGH_BIT].map((family) => ({
        nr: SOCKET,
        args: [family, 1n],
      }));
      assert.deepEqual(probe(runtime, standard(runtime), calls), [EPERM, EPERM, EPERM, EPERM]);
      const moby = probe(runtime, asMoby(standard(runtime)), calls);
      assert.deepEqual(moby.slice(0, 2), [EPERM, EPERM]);
      // EAFNOSUPPORT, ENODEV, or a socket: the kernel's own answer, as without a filter.
      const { seccomp: _none, ...unfiltered } = standard(runtime);
      const kernel = probe(runtime, unfiltered, calls);
      for (const at of [2, 3]) {
        assert.notEqual(moby[at], EPERM, 'the filter would have answered EPERM');
        assert.equal(
          (moby[at] ?? 0n) < 0n ? moby[at] : 'opened',
          (kernel[at] ?? 0n) < 0n ? kernel[at] : 'opened',
        );
      }
    });

    it(`${runtime}: every condition of the default on an int holds regardless of the high bits`, () => {
      const profile = builtinProfile('default');
      assert.ok(profile?.syscalls.filtered === true);
      const calls: { name: string; args: bigint[] }[] = [];
      for (const [name, of] of profile.syscalls.rules) {
        if (isConstant(of)) continue;
        for (const args of boundaryArguments(of)) {
          if (decide(of, args) !== 'errno 1') continue;
          const high = (bits: bigint): bigint[] =>
            args.map((value, index) =>
              argumentWidth(name, index) === 32 ? (value & maxOf(32)) | (bits << 32n) : value,
            );
          calls.push(...[0n, 1n, 0x80000000n, 0xffffffffn].map((bits) => ({ name, args: high(bits) })));
        }
      }
      assert.ok(new Set(calls.map(({ name }) => name)).size >= 4, 'clone, personality, socket, socketpair');
      const results = probe(
        runtime,
        standard(runtime),
        calls.map(({ name, args }) => ({ nr: NUMBERS.get(name) ?? -1, args })),
      );
      assert.deepEqual(
        calls.filter((_, at) => results[at] !== EPERM),
        [],
      );
    });
  }

  it('every int argument of every call is compared in the bits that the kernel reads', () => {
    const forbidden = 0x7e57n;
    let made = 0;
    for (let index = 0; index < 6; index++) {
      const names = [...NUMBERS.keys()].filter(
        (name) => argumentWidth(name, index) === 32 && !['exit_group', 'exit'].includes(name),
      );
      const others = (low: bigint, high: bigint) => {
        const test = argumentTest(index, 32, { low, high });
        assert.ok(test !== undefined);
        return { outcome: 'allow' as const, when: clause([test]) };
      };
      const rule = decision(errno(DENIED), [others(0n, forbidden - 1n), others(forbidden + 1n, maxOf(32))]);
      const policy = filteredPolicy(
        'allow',
        names.map((name) => [name, rule] as const),
      );
      const calls = names.flatMap((name) =>
        [0n, 1n, 0xffffffffn].map((high) => {
          const args = [0n, 0n, 0n, 0n, 0n, 0n];
          args[index] = forbidden | (high << 32n);
          return { nr: NUMBERS.get(name) ?? -1, args };
        }),
      );
      const outcome = loaded.run(generateBpf(policy, 'x86_64'), calls);
      assert.equal(outcome.loaded, 0n);
      const slipped = calls.filter((_, at) => outcome.results[at] !== -BigInt(DENIED));
      assert.deepEqual(slipped, []);
      made += calls.length;
    }
    assert.ok(made > 1000, `${made} calls`);
  });
});

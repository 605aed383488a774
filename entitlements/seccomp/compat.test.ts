import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { programDifference } from '../proof/prove.ts';
import { argumentTest } from './argument-test.ts';
import { decode } from './bpf-assembler.ts';
import { emulate } from './fixtures/bpf-emulator.ts';
import { generateBpf } from './bpf-generator.ts';
import { clause } from './clause.ts';
import { compatNumbers } from './compat.ts';
import { always, decision } from './decision.ts';
import { defaultPolicy } from './default-policy.ts';
import { arbitraries } from './fixtures/arbitrary-policy.ts';
import { returnValue } from './outcome.ts';
import { COMPAT_ARCHITECTURES, filteredPolicy } from './policy.ts';
import type { CompatArchitecture, FilteredPolicy } from './policy.ts';
import { isSyscallName } from './syscalls.ts';
import { COMMON_EQUIVALENTS, X86_EQUIVALENTS, ARM_EQUIVALENTS, MULTIPLEXED } from './compat-calls.ts';

const ARCH = { x86: 0x40000003, x32: 0xc000003e, arm: 0x40000028 };
const MACHINE = { x86: 'x86_64', x32: 'x86_64', arm: 'aarch64' } as const;
const [ALLOW, EPERM, ENOSYS, KILL] = [
  returnValue('allow'),
  returnValue('errno 1'),
  returnValue('errno 38'),
  0,
];

function defaultWith(...compat: CompatArchitecture[]): FilteredPolicy {
  const policy = defaultPolicy(DEFAULT_CAPABILITIES);
  assert.ok(policy.filtered);
  return { ...policy, compat };
}

function ask(
  policy: FilteredPolicy,
  name: CompatArchitecture,
  call: string | number,
  ...args: bigint[]
): number {
  const number = typeof call === 'number' ? call : compatNumbers(name).get(call);
  assert.ok(number !== undefined, String(call));
  const nr = (name === 'x32' ? 0x40000000 : 0) + number;
  return emulate(decode(generateBpf(policy, MACHINE[name])), { arch: ARCH[name], nr, args }).value;
}

describe('compatibility architectures', () => {
  it('are killed unless the policy names them, each separately', () => {
    for (const name of COMPAT_ARCHITECTURES) {
      assert.equal(ask(defaultWith(), name, 'getpid'), KILL);
      assert.equal(ask(defaultWith(name), name, 'getpid'), ALLOW);
      for (const other of COMPAT_ARCHITECTURES)
        if (other !== name) assert.equal(ask(defaultWith(other), name, 'getpid'), KILL);
    }
  });

  const cases: readonly (readonly [CompatArchitecture, string | number, readonly bigint[], number])[] = [
    ['x86', 'mmap2', [], ALLOW],
    ['x86', 'mount', [], EPERM],
    ['x86', 'umount', [], EPERM],
    ['x86', 'vm86', [], EPERM],
    ['x86', 'socket', [2n], ALLOW],
    ['x86', 'socket', [38n], EPERM],
    ['x86', 'socket', [40n], EPERM],
    ['x86', 'socketcall', [1n], EPERM],
    ['x86', 'ipc', [], ALLOW],
    ['x86', 'clone', [0x11n], ALLOW],
    ['x86', 'clone', [0x10000000n], EPERM],
    ['x86', 'clone3', [], ENOSYS],
    ['x86', 'setuid32', [], ALLOW],
    ['x86', 'futex_time64', [], ALLOW],
    ['x86', 'clock_settime64', [], EPERM],
    ['x86', 600, [], ENOSYS],
    ['x32', 'execve', [], ALLOW],
    ['x32', 'socket', [0x100000026n], EPERM],
    ['x32', 'init_module', [], EPERM],
    ['x32', 600, [], ENOSYS],
    ['arm', 'set_tls', [], ALLOW],
    ['arm', 'cacheflush', [], ALLOW],
    ['arm', 'usr26', [], ENOSYS],
    ['arm', 'send', [], ALLOW],
    ['arm', 'socket', [38n], EPERM],
    ['arm', 600, [], ENOSYS],
  ];
  for (const [name, call, args, expected] of cases) {
    it(`${name}: ${call}(${args.join(', ')}) under the default`, () => {
      const got = ask(defaultWith(name), name, call, ...args);
      if (call === 'usr26') assert.notEqual(got, ALLOW);
      else assert.equal(got, expected);
    });
  }

  it('a condition on a value that 32-bit registers cannot hold, or hold in another position, grants nothing that could be wrong', () => {
    const when = (index: number, low: bigint, high: bigint) => {
      const test = argumentTest(index, 64, { low, high });
      assert.ok(test !== undefined);
      return decision('errno 1', [{ outcome: 'allow', when: clause([test]) }]);
    };
    const policy = filteredPolicy(
      'errno 1',
      [
        ['lseek', when(1, 5n, 0xffffffffn)],
        ['pread64', when(3, 0n, 9n)],
        ['mmap', when(1, 0n, 9n)],
      ],
      ['x86', 'x32'],
    );
    assert.equal(ask(policy, 'x86', 'lseek', 0n, 5n), ALLOW);
    assert.equal(ask(policy, 'x86', '_llseek', 0n, 5n), EPERM, 'its offset has two registers');
    assert.equal(ask(policy, 'x86', 'lseek', 0n, 0xffffffffn), EPERM, 'the kernel reads -1');
    assert.equal(ask(policy, 'x32', 'lseek', 0n, 0xffffffffn), ALLOW);
    assert.equal(ask(policy, 'x86', 'pread64', 0n, 0n, 0n, 1n), EPERM, 'its offset has two registers');
    assert.equal(ask(policy, 'x86', 'mmap', 0n, 1n), EPERM, 'its arguments are in memory');
    assert.equal(ask(policy, 'x86', 'mmap2', 0n, 1n), ALLOW);
  });

  it('a condition on a user or a group grants nothing to calls that read 16 bits of it: 65536 would be root', () => {
    const but = (index: number) => {
      const test = argumentTest(index, 32, { low: 1n });
      assert.ok(test !== undefined);
      return decision('errno 1', [{ outcome: 'allow', when: clause([test]) }]);
    };
    const calls = [
      ...['setuid', 'setgid', 'setreuid', 'setregid', 'setresuid', 'setresgid', 'setfsuid', 'setfsgid'].map(
        (call) => [call, 0] as const,
      ),
      ...['chown', 'fchown', 'lchown'].map((call) => [call, 1] as const),
    ];
    for (const name of ['x86', 'arm'] as const)
      for (const [call, index] of calls) {
        const policy = filteredPolicy('errno 1', [[call, but(index)]], [name]);
        const args = Array.from({ length: index + 1 }, () => 0x10000n);
        assert.equal(ask(policy, name, call, ...args), EPERM, `${name} ${call}`);
        assert.equal(ask(policy, name, `${call}32`, ...args), ALLOW, `${name} ${call}32`);
      }
  });

  it('a condition on the flags of preadv2 grants nothing to x32, where they are the argument before', () => {
    const test = argumentTest(5, 32, { low: 0n, high: 0n });
    assert.ok(test !== undefined);
    const plain = decision('errno 1', [{ outcome: 'allow', when: clause([test]) }]);
    for (const call of ['preadv2', 'pwritev2'])
      assert.equal(
        ask(filteredPolicy('errno 1', [[call, plain]], ['x32']), 'x32', call, 0n, 0n, 0n, 0n, 16n),
        EPERM,
      );
  });

  it('what a multiplexer hides is as tight as the tightest call behind it', () => {
    const all = (MULTIPLEXED['socketcall'] ?? []).map((name) => [name, always('allow')] as const);
    assert.equal(ask(filteredPolicy('errno 1', all, ['x86']), 'x86', 'socketcall'), ALLOW);
    assert.equal(ask(filteredPolicy('errno 1', all.slice(1), ['x86']), 'x86', 'socketcall'), EPERM);
    assert.equal(
      ask(filteredPolicy('allow', [['umount2', always('errno 1')]], ['x86']), 'x86', 'umount'),
      EPERM,
    );
  });

  it('programs for them are proved as native ones are: random policies', () => {
    fc.assert(
      fc.property(
        arbitraries(fc).policy,
        fc.subarray([...COMPAT_ARCHITECTURES]),
        fc.constantFrom('x86_64', 'aarch64'),
        (made, compat, on) => {
          const policy = { ...made, compat: [...compat] };
          assert.equal(
            programDifference({ policy, architecture: on }, generateBpf(policy, on))?.sentence,
            undefined,
          );
          if (compat.length > 0 && compat.some((name) => MACHINE[name] === on))
            assert.notEqual(
              programDifference({ policy, architecture: on }, generateBpf({ ...policy, compat: [] }, on)),
              undefined,
            );
        },
      ),
      { seed: 7, numRuns: 60 },
    );
  });

  it('name native calls as their equivalents, and only calls that they have', () => {
    for (const table of [COMMON_EQUIVALENTS, X86_EQUIVALENTS, ARM_EQUIVALENTS])
      for (const to of Object.values(table)) assert.ok(isSyscallName(to), to);
    for (const name of Object.keys(X86_EQUIVALENTS)) assert.ok(compatNumbers('x86').has(name), name);
    for (const name of Object.keys(ARM_EQUIVALENTS)) assert.ok(compatNumbers('arm').has(name), name);
    for (const name of Object.keys(COMMON_EQUIVALENTS))
      assert.ok(compatNumbers('x86').has(name) || compatNumbers('arm').has(name), name);
  });

  const without =
    spawnSync('scmp_sys_resolver', ['-a', 'x86', '1']).error === undefined
      ? false
      : 'scmp_sys_resolver is not installed';
  it('have the numbers that libseccomp knows', { skip: without }, () => {
    for (const name of COMPAT_ARCHITECTURES) {
      const list = [...compatNumbers(name)];
      const script = 'arch=$1; shift; for call; do scmp_sys_resolver -a $arch "$call"; done';
      const { stdout } = spawnSync('sh', ['-c', script, 'sh', name, ...list.map(([call]) => call)]);
      const known = stdout.toString().trim().split('\n').map(Number);
      assert.equal(known.length, list.length);
      // Negative: libseccomp 2.5.4 does not know the call.
      const wrong = list.filter(([, number], at) => {
        const theirs = known[at] ?? -1;
        return theirs >= 0 && (theirs & 0x3fffffff) !== number;
      });
      assert.deepEqual(wrong, []);
    }
  });
});

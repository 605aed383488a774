import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CAPABILITIES, DEFAULT_CAPABILITIES } from '../capabilities/capability-names.ts';
import { answer } from '../explain/answer.ts';
import { parseQuestion } from '../explain/question.ts';
import { builtinProfile, defaultProfile } from '../profile/builtin.ts';
import { programDifference } from '../proof/prove.ts';
import { decode } from '../seccomp/bpf-assembler.ts';
import { emulate } from '../seccomp/fixtures/bpf-emulator.ts';
import { generateBpf } from '../seccomp/bpf-generator.ts';
import { compatNumbers } from '../seccomp/compat.ts';
import { MULTIPLEXED } from '../seccomp/compat-calls.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { returnValue } from '../seccomp/outcome.ts';
import { joinPolicies } from '../seccomp/policy.ts';
import type { CompatArchitecture, FilteredPolicy, SyscallPolicy } from '../seccomp/policy.ts';
import { AUDIT_ARCH, syscallNumbers } from '../seccomp/syscalls.ts';
import type { Capability } from '../types.ts';
import { basePolicy } from './base-set.ts';
import { compile } from './compile.ts';
import { temporaryBundle } from './fixtures/container.ts';
import { probeProgram, probeResults } from './fixtures/probe-program.ts';
import { detectKernel } from './kernel.ts';

const ALLOW = returnValue('allow');
const KILL = 0;
const HIGH = 1n << 32n;
/** linux/sched.h */
const CLONE_NEWUSER = 0x10000000n;
const CLONE_NEWNET = 0x40000000n;

interface EntryPoint {
  /** In the syntax of `portcullis entitlements explain --can`: any call that it describes. */
  readonly question: string;
  readonly call: string;
  readonly args: readonly bigint[];
  /** With one of these the default filter allows the call. */
  readonly capability?: Capability;
}

/** The entry points of kernel exploits. A default container reaches none of them. */
const ENTRY_POINTS: readonly EntryPoint[] = [
  ...['socket', 'socketpair'].flatMap((call): EntryPoint[] => [
    // CVE-2026-31431: writes to the page cache through the kernel's cryptography.
    { question: `${call}(AF_ALG)`, call, args: [38n, 5n, 0n] },
    // CVE-2026-43500, CVE-2026-31635
    { question: `${call}(AF_RXRPC)`, call, args: [33n, 2n, 2n] },
    { question: `${call}(AF_KEY)`, call, args: [15n, 3n, 2n], capability: 'NET_ADMIN' },
    // CVE-2026-43284, CVE-2026-46300: NETLINK_XFRM
    { question: `${call}(AF_NETLINK, _, 6)`, call, args: [16n, 3n, 6n], capability: 'NET_ADMIN' },
    { question: `${call}(AF_VSOCK)`, call, args: [40n, 1n, 0n] },
  ]),
  { question: 'unshare(&CLONE_NEWUSER)', call: 'unshare', args: [CLONE_NEWUSER], capability: 'SYS_ADMIN' },
  { question: 'unshare(&CLONE_NEWNET)', call: 'unshare', args: [CLONE_NEWNET], capability: 'SYS_ADMIN' },
  { question: 'setns', call: 'setns', args: [0n, CLONE_NEWNET], capability: 'SYS_ADMIN' },
  { question: 'clone(&CLONE_NEWUSER)', call: 'clone', args: [CLONE_NEWUSER | 17n], capability: 'SYS_ADMIN' },
  { question: 'clone(&CLONE_NEWNET)', call: 'clone', args: [CLONE_NEWNET | 17n], capability: 'SYS_ADMIN' },
  // Its flags are behind a pointer, so the whole call is refused.
  { question: 'clone3', call: 'clone3', args: [0n, 88n], capability: 'SYS_ADMIN' },
  { question: 'io_uring_setup', call: 'io_uring_setup', args: [8n] },
  { question: 'io_uring_enter', call: 'io_uring_enter', args: [3n] },
  { question: 'io_uring_register', call: 'io_uring_register', args: [3n] },
  { question: 'bpf', call: 'bpf', args: [0n], capability: 'SYS_ADMIN' },
  { question: 'perf_event_open', call: 'perf_event_open', args: [0n], capability: 'SYS_ADMIN' },
  { question: 'userfaultfd', call: 'userfaultfd', args: [1n] },
  { question: 'add_key', call: 'add_key', args: [0n] },
  { question: 'request_key', call: 'request_key', args: [0n] },
  { question: 'keyctl', call: 'keyctl', args: [0n] },
];

function filtered(policy: SyscallPolicy): FilteredPolicy {
  assert.ok(policy.filtered);
  return policy;
}

/** Returns the arguments, and all other values that the kernel reads as the same ones. */
function spellings({ call, args }: EntryPoint): (readonly bigint[])[] {
  const ints = ['socket', 'socketpair'].includes(call) ? [0, 2] : [];
  return [args, ...ints.map((at) => args.map((value, index) => (index === at ? value | HIGH : value)))];
}

describe('entry points of kernel exploits, under the default profile', () => {
  for (const entry of ENTRY_POINTS) {
    it(`${entry.question}: no program can call it`, () => {
      const found = answer(defaultProfile(), parseQuestion(entry.question));
      assert.equal(found.yes, false);
      for (const name of ['default', 'baseline', 'restricted']) {
        const profile = builtinProfile(name);
        if (profile !== undefined)
          assert.equal(answer(profile, parseQuestion(entry.question)).yes, false, name);
      }
    });
  }

  it('no user namespace can be created', () => {
    assert.equal(answer(defaultProfile(), parseQuestion('userns')).yes, false);
  });

  for (const architecture of ['x86_64', 'aarch64'] as const)
    for (const runtime of ['crun', 'runc', 'other'])
      it(`the filter program refuses each, also with the system calls that ${runtime} itself needs (${architecture})`, () => {
        const policy = filtered(joinPolicies(defaultPolicy(DEFAULT_CAPABILITIES), basePolicy(runtime)));
        const bytes = generateBpf(policy, architecture);
        assert.equal(
          programDifference({ policy, architecture }, bytes)?.sentence,
          undefined,
          'proved: it answers each call as the policy',
        );
        const program = decode(bytes);
        const passed = ENTRY_POINTS.flatMap((entry) => {
          const nr = syscallNumbers(architecture).get(entry.call);
          assert.ok(nr !== undefined, entry.call);
          return spellings(entry)
            .filter((args) => emulate(program, { arch: AUDIT_ARCH[architecture], nr, args }).value === ALLOW)
            .map((args) => `${entry.call}(${args.join(', ')})`);
        });
        assert.deepEqual(passed, []);
      });

  it('a capability that the kernel requires opens its own entry points, and no other', () => {
    for (const capability of CAPABILITIES) {
      const policy = defaultPolicy([...DEFAULT_CAPABILITIES, capability]);
      const program = decode(generateBpf(filtered(policy), 'x86_64'));
      for (const entry of ENTRY_POINTS) {
        const nr = syscallNumbers('x86_64').get(entry.call) ?? -1;
        const { value } = emulate(program, { arch: AUDIT_ARCH.x86_64, nr, args: entry.args });
        const opens =
          entry.capability === capability ||
          (entry.call === 'bpf' && capability === 'BPF') ||
          (entry.call === 'perf_event_open' && capability === 'PERFMON');
        assert.equal(value === ALLOW, opens, `${capability}: ${entry.question}`);
      }
    }
  });

  const arches = {
    x86: ['x86_64', 0x40000003, 0],
    x32: ['x86_64', 0xc000003e, 0x40000000],
    arm: ['aarch64', 0x40000028, 0],
  } as const;
  for (const name of ['x86', 'x32', 'arm'] as const satisfies readonly CompatArchitecture[]) {
    const [architecture, arch, offset] = arches[name];
    it(`${name}: programs are killed, and reach none if a profile names the architecture`, () => {
      const standard = filtered(defaultPolicy(DEFAULT_CAPABILITIES));
      const plain = decode(generateBpf(standard, architecture));
      const named = decode(generateBpf({ ...standard, compat: [name] }, architecture));
      for (const entry of ENTRY_POINTS) {
        const number = compatNumbers(name).get(entry.call);
        if (number === undefined) continue;
        const call = { arch, nr: offset + number, args: entry.args };
        assert.equal(emulate(plain, call).value, KILL, entry.question);
        assert.notEqual(emulate(named, call).value, ALLOW, entry.question);
      }
      // socketcall(2) hides family and protocol behind a pointer.
      const multiplexer = compatNumbers(name).get('socketcall');
      assert.equal(multiplexer !== undefined, name === 'x86');
      if (multiplexer === undefined) return;
      assert.ok(MULTIPLEXED['socketcall']?.includes('socket'));
      for (let what = 0n; what <= 20n; what += 1n)
        assert.notEqual(
          emulate(named, { arch, nr: multiplexer, args: [what] }).value,
          ALLOW,
          `socketcall(${what})`,
        );
    });
  }

  it('what programs need apart from them still works: routes, uevents and audit by netlink, packets, threads', () => {
    const program = decode(generateBpf(filtered(defaultPolicy(DEFAULT_CAPABILITIES)), 'x86_64'));
    const socket = syscallNumbers('x86_64').get('socket') ?? -1;
    for (const args of [
      [1n],
      [2n, 1n],
      [10n, 2n],
      [16n, 3n, 0n],
      [16n, 3n, 4n],
      [16n, 3n, 9n],
      [16n, 3n, 12n],
      [16n, 2n, 15n],
      [17n, 3n],
    ])
      assert.equal(emulate(program, { arch: AUDIT_ARCH.x86_64, nr: socket, args }).value, ALLOW, args.join());
    const clone = syscallNumbers('x86_64').get('clone') ?? -1;
    assert.equal(emulate(program, { arch: AUDIT_ARCH.x86_64, nr: clone, args: [0x3d0f00n] }).value, ALLOW);
  });
});

function missing(): string | false {
  if (process.arch !== 'x64') return 'the probe program is x86_64 code';
  if (process.getuid?.() !== 0) return 'it takes root to start containers';
  return spawnSync('crun', ['--help']).error === undefined &&
    spawnSync('runc', ['--help']).error === undefined
    ? false
    : 'no crun or runc';
}

describe('entry points of kernel exploits, in a container on the running kernel', { skip: missing() }, () => {
  let bundle: ReturnType<typeof temporaryBundle>;
  before(() => {
    bundle = temporaryBundle();
  });
  after(() => bundle.remove());

  for (const runtime of ['crun', 'runc'] as const)
    it(`${runtime}: the filter refuses each`, () => {
      const settings = compile(
        { ...defaultProfile(), ambient: [] },
        {
          architecture: 'x86_64',
          runtime,
          kernel: detectKernel(),
          heldCapabilities: [...DEFAULT_CAPABILITIES],
        },
      );
      const calls = ENTRY_POINTS.flatMap((entry) =>
        spellings(entry).map((args) => ({ nr: syscallNumbers('x86_64').get(entry.call) ?? -1, args })),
      );
      writeFileSync(join(bundle.root, 'bin/probe'), probeProgram(calls), { mode: 0o755 });
      const { status, stdout, stderr } = bundle.run(runtime, settings, ['/bin/probe']);
      assert.equal(status, 0, stderr);
      const expected = ENTRY_POINTS.flatMap((entry) =>
        spellings(entry).map(() => (entry.call === 'clone3' ? -38n : -1n)),
      );
      assert.deepEqual(probeResults(stdout), expected);
    });
});

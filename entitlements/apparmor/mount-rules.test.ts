import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { findAppArmorParser } from '../../base/process/index.ts';
import type { MountRule } from '../profile/model.ts';
import type { KernelAutomaton } from './automaton.ts';
import { readCompiledPolicy } from './compiled-policy.ts';
import { appArmorMountRules } from './mount-rules.ts';
import { hasAppArmorParser } from './parser.ts';

function compiled(mounts: readonly MountRule[]): KernelAutomaton {
  const text = `profile x flags=(attach_disconnected) {\n${appArmorMountRules(mounts).join('\n')}\n}\n`;
  const parser = findAppArmorParser();
  assert.ok(parser);
  const said = spawnSync(
    parser.program,
    ['-Q', '-K', '-S', '--features-file', join(parser.base, 'abi/3.0')],
    { input: text },
  );
  assert.equal(said.status, 0, said.stderr.toString());
  const policy = readCompiledPolicy(said.stdout)[0]?.policy;
  assert.ok(policy);
  return policy;
}

/** The flags of mount(2) by the number of their bit (include/uapi/linux/mount.h). */
const BITS = {
  ...{
    ro: 0,
    nosuid: 1,
    nodev: 2,
    noexec: 3,
    sync: 4,
    remount: 5,
    mand: 6,
    dirsync: 7,
    noatime: 10,
    nodiratime: 11,
  },
  ...{ bind: 12, move: 13, silent: 15, relatime: 21, iversion: 23, strictatime: 24 },
};
const OPEN = [
  'nosuid',
  'nodev',
  'noexec',
  'sync',
  'dirsync',
  'mand',
  'noatime',
  'nodiratime',
  'silent',
  'relatime',
  'iversion',
  'strictatime',
];

/**
 * Returns the state before the flags, as match_mnt of security/apparmor/mount.c reaches it: class 7, mount
 * point, source, type, each ended by NUL.
 */
function before(policy: KernelAutomaton, target: string, source: string, type: string): number {
  return [7, ...Buffer.from(`${target}\0${source}\0${type}\0`)].reduce(
    (state, byte) => policy.next(state, byte),
    1,
  );
}

/**
 * Returns sets of flags whose grant differs from `expected`, by a walk through every state at every flag.
 * Without `expected`, no set may be granted.
 */
function differing(
  policy: KernelAutomaton,
  from: number,
  expected?: { must: readonly number[]; may: readonly number[] },
): string[] {
  const start = { state: from, fits: expected !== undefined, flags: '' };
  const { must, may } = expected ?? { must: [], may: [] };
  let reached = new Map([['', start]]);
  for (let bit = 0; bit < 32; bit++) {
    const next: typeof reached = new Map();
    for (const { state, fits, flags } of reached.values())
      for (const set of [false, true]) {
        const to = set ? policy.next(state, bit + 1) : state;
        const still = fits && (set ? must.includes(bit) || may.includes(bit) : !must.includes(bit));
        next.set(`${to} ${still}`, { state: to, fits: still, flags: set ? `${flags} ${bit}` : flags });
      }
    reached = next;
  }
  return [...reached.values()].flatMap(({ state, fits, flags }) =>
    (policy.accepts(state) !== 0) === fits ? [] : [`flags${flags}`],
  );
}

const bits = (names: readonly string[]): number[] => names.map((name) => BITS[name as keyof typeof BITS]);

describe(
  'rules on mounts, by their compiled automaton',
  { skip: !hasAppArmorParser() && 'apparmor_parser is not installed' },
  () => {
    const mounts = [
      { fstype: '*', target: '/mnt/ro/**', readonly: true },
      { fstype: 'ext4', target: '/mnt/disk', readonly: true },
      { fstype: 'tmpfs', target: '/mnt/a', readonly: false },
    ];

    it('that are read-only grant `ro` with every set of harmless flags, and no other of all 2^32 sets', () => {
      const policy = compiled(mounts);
      for (const [target, type] of [
        ['/mnt/ro/x/', 'tmpfs'],
        ['/mnt/ro/', 'ext4'],
        ['/mnt/disk/', 'ext4'],
      ] as const)
        assert.deepEqual(
          differing(policy, before(policy, target, 'x', type), { must: [BITS.ro], may: bits(OPEN) }),
          [],
          target,
        );
    });

    it('grant no set of flags for another type or mount point', () => {
      const policy = compiled(mounts);
      for (const [target, type] of [
        ['/mnt/disk/', 'tmpfs'],
        ['/mnt/disk/x/', 'ext4'],
        ['/mnt/rot/', 'tmpfs'],
        ['/mnt/a/', 'ext4'],
      ] as const)
        assert.deepEqual(differing(policy, before(policy, target, 'x', type)), [], `${type} ${target}`);
    });

    it('that are writable and for one type allow no bind, move or remount', () => {
      const policy = compiled(mounts);
      const from = before(policy, '/mnt/a/', 'x', 'tmpfs');
      for (const flags of [[], ['silent'], ['ro', 'nosuid', 'silent']])
        assert.notEqual(
          policy.accepts(bits(flags).reduce((at, bit) => policy.next(at, bit + 1), from)),
          0,
          flags.join(),
        );
      // The kernel passes no type for these.
      for (const flag of [BITS.bind, BITS.move, BITS.remount])
        assert.equal(
          policy.accepts(policy.next(before(policy, '/mnt/a/', '/bin/', ''), flag + 1)),
          0,
          String(flag),
        );
    });
  },
);

import { test } from 'node:test';
import { assertNearLinearWork, untilRefused } from '../../test/fixtures/cost.ts';
import type { CostCases } from '../../test/fixtures/cost.ts';
import { meetNetworkRules, networkExcess } from '../compare/network-rules.ts';
import { compile } from '../compile/compile.ts';
import type { Target } from '../compile/target.ts';
import { matchesPath } from '../files/automaton.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import { patternOf } from '../files/pattern-of.ts';
import { defaultProfile } from '../profile/builtin.ts';
import { checkProfiles } from '../document/check.ts';
import type { NetworkRule } from '../types.ts';
import { syscallNumbers } from '../seccomp/syscalls.ts';
import { importAppArmorText } from './apparmor-text.ts';
import { isAppArmorText } from './apparmor-statements.ts';
import { importSeccomp } from './seccomp.ts';
import { importPod } from './security-context.ts';

/** Profiles of every type are read and compiled in time that grows linearly with their size. */

const range = <T>(n: number, make: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => make(index));
const seccompTarget = { architecture: 'x86_64', capabilities: defaultProfile().capabilities } as const;
const target: Target = {
  architecture: 'x86_64',
  runtime: 'crun',
  kernel: { seccomp: true, apparmor: true, expanded: {} },
};
const appArmor = (body: string): (() => unknown) => {
  const text = `profile x flags=(attach_disconnected) {\n${body}\n}\n`;
  return () => untilRefused(() => importAppArmorText(text, 'x.aa'));
};
const profile = (part: string): (() => unknown) => {
  const text = `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: p }\n${part}`;
  return () => checkProfiles([{ file: 'p.yaml', text }]);
};
const list = (items: readonly unknown[]): string => JSON.stringify(items);
const calls = [...syscallNumbers('x86_64').keys()];

const cases: CostCases = {
  'AppArmor: rules on files': [300, (n) => appArmor(range(n, (index) => `/a/${index}/** r,`).join('\n'))],
  'AppArmor: rules of one line': [300, (n) => appArmor(range(n, (index) => `/a/${index} r,`).join(' '))],
  'AppArmor: lines of one rule': [2000, (n) => appArmor('/a\n'.repeat(n))],
  'AppArmor: mounts and places to unmount': [
    200,
    (n) =>
      appArmor(range(n, (index) => `mount fstype=tmpfs -> /m${index}/,\numount /m${index}/,`).join('\n')),
  ],
  'AppArmor: networks': [
    300,
    (n) => appArmor(range(n, (index) => `network inet${index % 2 === 0 ? '' : '6'} stream,`).join('\n')),
  ],
  'AppArmor: an alternative of many': [
    100,
    (n) => appArmor(`/{${range(n, (index) => `a${index}`).join(',')}} r,`),
  ],
  ...Object.fromEntries(
    ['\n', '{', '"'].map((part) => [
      `AppArmor: a rule of ${JSON.stringify(part)}`,
      [4000, (n: number) => appArmor(part.repeat(n / part.length))] as const,
    ]),
  ),
  ...Object.fromEntries(
    ['\n', 'a', '/a', '{', ' /'].map((part) => [
      `AppArmor: a text of ${JSON.stringify(part)}`,
      [
        4000,
        (n: number) => {
          const text = `/${part.repeat(n / part.length)}`;
          return () => [isAppArmorText(text), untilRefused(() => importAppArmorText(text, 'x.aa'))];
        },
      ] as const,
    ]),
  ),
  'seccomp: rules of different calls': [
    80,
    (n) => {
      const json = {
        defaultAction: 'SCMP_ACT_ERRNO',
        architectures: ['SCMP_ARCH_X86_64'],
        syscalls: range(n, (index) => ({ names: [calls[index]], action: 'SCMP_ACT_ALLOW' })),
      };
      return () => importSeccomp(json, seccompTarget);
    },
  ],
  'seccomp: rules of calls again and again': [
    300,
    (n) => {
      const json = {
        defaultAction: 'SCMP_ACT_ERRNO',
        architectures: ['SCMP_ARCH_X86_64'],
        syscalls: range(n, (index) => ({ names: [calls[index % 80]], action: 'SCMP_ACT_ALLOW' })),
      };
      return () => importSeccomp(json, seccompTarget);
    },
  ],
  'seccomp: conditions on one call': [
    50,
    (n) => {
      const json = {
        defaultAction: 'SCMP_ACT_ERRNO',
        syscalls: range(n, (value) => ({
          names: ['personality'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
        })),
      };
      return () => importSeccomp(json, seccompTarget);
    },
  ],
  'pod: containers': [
    10,
    (n) => {
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'p' },
        spec: {
          containers: range(n, (index) => ({
            name: `c${index}`,
            securityContext: { capabilities: { drop: ['ALL'] } },
          })),
        },
      };
      return () => importPod(pod, { profile: () => undefined, seccomp: () => undefined });
    },
  ],
  'profile: file rules': [
    50,
    (n) => profile(`files: { read: ${list(range(n, (index) => `/a${index}/**`))} }`),
  ],
  'profile: system calls with conditions': [
    40,
    (n) => profile(`syscalls: { drop: ${list(range(n, (index) => ({ ioctl: { arg1: index } })))} }`),
  ],
  'profile: system calls with conditions that do not touch': [
    60,
    (n) => profile(`syscalls: { drop: ${list(range(n, (index) => ({ ioctl: { arg1: 7 * index } })))} }`),
  ],
  'profile: egress blocks': [
    30,
    (n) =>
      profile(
        `network: { egress: ${list(range(n, (index) => ({ to: `10.${index >> 8}.${index & 255}.0/24`, ports: ['80/tcp'] })))} }`,
      ),
  ],
  'profile: addresses outside of a block': [
    50,
    (n) =>
      profile(
        `network: { egress: [{ to: '::/0', except: ${list(range(n, (index) => `2001:db8:${(index * 7919).toString(16)}::1`))} }] }`,
      ),
  ],
  'profile: blocks, each without its half': [
    250,
    (n) => {
      const names = range(n, (index) => `10.${index >> 8}.${index & 255}`);
      return profile(
        `network: { egress: [{ to: ${list(names.map((name) => `${name}.0/24`))}, except: ${list(names.map((name) => `${name}.0/25`))} }] }`,
      );
    },
  ],
  // At most 1024 blocks may be left: a profile that is refused costs less.
  'profile: blocks, each without an address': [
    30,
    (n) => {
      const names = range(n, (index) => `10.${index >> 8}.${index & 255}`);
      return profile(
        `network: { egress: [{ to: ${list(names.map((name) => `${name}.0/24`))}, except: ${list(names.map((name) => `${name}.9`))} }] }`,
      );
    },
  ],
  'peers: addresses with the ports of their block': [
    300,
    (n) => {
      const rule = (cidr: string, port: number): NetworkRule => ({
        cidr,
        protocol: 'tcp',
        ports: { low: 2 * port, high: 2 * port },
      });
      const outer = range(n, (index) => rule('10.0.0.0/8', index));
      const inner = range(n, (index) => rule(`10.${index >> 8}.${index & 255}.0/24`, index));
      return () => [networkExcess(outer, inner), meetNetworkRules(outer, inner)];
    },
  ],
  'profile: unknown words': [
    100,
    (n) => profile(`capabilities: { add: ${list(range(n, (index) => `NOPE${index}`))} }`),
  ],
  'profile: characters of a pattern': [500, (n) => () => parsePathPattern(`/${'*a'.repeat(n / 2)}`)],
  'patterns: a path against many stars': [
    200,
    (n) => {
      const pattern = patternOf(`/${'*a'.repeat(20)}b`);
      return () => matchesPath(pattern, `/${'a'.repeat(n)}`);
    },
  ],
  'compile: rules on files': [
    50,
    (n) => {
      const made = {
        ...defaultProfile(),
        files: [
          { allow: range(n, (index) => ({ pattern: `/a${index}/**`, access: ['read'] as const })), deny: [] },
        ],
      };
      return () => untilRefused(() => compile(made, target));
    },
  ],
  'compile: masked paths': [
    50,
    (n) => {
      const made = { ...defaultProfile(), maskedPaths: range(n, (index) => `/proc/m${index}`) };
      return () => compile(made, target);
    },
  ],
};
for (const [what, [n, make]] of Object.entries(cases))
  test(`${what}: twice as many cost about twice as much`, () => assertNearLinearWork(what, make, { n }));

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { contains } from '../compare/contains.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { builtinProfile } from '../profile/builtin.ts';
import { checkProfiles } from './check.ts';
import type { Profile } from '../profile/model.ts';

/**
 * Returns documents with these names and lines, in one file. The head is on the first three lines of each.
 */
function documents(
  profiles: Readonly<Record<string, string>>,
): { readonly file: string; readonly text: string }[] {
  const text = Object.entries(profiles)
    .map(
      ([name, lines]) =>
        `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: ${name} }\n${lines}\n`,
    )
    .join('---\n');
  return [{ file: 'f', text }];
}

function profilesOf(profiles: Readonly<Record<string, string>>): ReadonlyMap<string, Profile> {
  const { profiles: found, problems } = checkProfiles(documents(profiles));
  assert.deepEqual(problems, []);
  return new Map(found.map(({ name, profile }) => [name, profile]));
}

function problemsOf(profiles: Readonly<Record<string, string>>): string[] {
  return checkProfiles(documents(profiles)).problems.map(
    ({ position, message, fix }) => `${position.line}:${position.column} ${message}; ${fix ?? ''}`,
  );
}

function same(a: Profile | undefined, b: Profile | undefined): void {
  assert.ok(a !== undefined && b !== undefined);
  assert.deepEqual(a, b);
}

function answer(profile: Profile | undefined, call: string, ...args: bigint[]): string {
  return profile?.syscalls.filtered === true
    ? decide(decisionFor(profile.syscalls, call), args)
    : 'unfiltered';
}

describe('a profile that extends others', () => {
  it('has all that they grant and exclude, in any order', () => {
    const parents = {
      a: 'entitlements: [kernel.io-uring]\nsyscalls: { drop: [chmod] }',
      b: 'capabilities: { drop: [KILL], add: [SYS_NICE] }\nresources: { pids: 10 }',
    };
    const found = profilesOf({
      ...parents,
      ab: 'extends: [a, b]',
      ba: 'extends: [b, a, b]',
      again: 'extends: [ab, a]',
    });
    same(found.get('ab'), found.get('ba'));
    same(found.get('ab'), found.get('again'));
    assert.deepEqual(
      [answer(found.get('ab'), 'io_uring_setup'), answer(found.get('ab'), 'chmod')],
      ['allow', 'errno 1'],
    );
    assert.equal(found.get('ab')?.resources.pids, 10n);
  });

  it('is refused if they contradict one another, unless its own keys decide', () => {
    const parents = {
      yes: 'capabilities: { add: [NET_ADMIN] }\nsyscalls: { add: [bpf] }',
      no: 'capabilities: { drop: [NET_ADMIN] }\nsyscalls: { drop: [bpf] }',
    };
    assert.match(
      problemsOf({ ...parents, c: 'extends: [yes, no]' }).join('\n'),
      /^16:16 no conflicts with yes on the capability NET_ADMIN; keep one/,
    );
    assert.match(
      problemsOf({ ...parents, c: 'extends: [yes, no]\ncapabilities: { drop: [NET_ADMIN] }' }).join('\n'),
      /^16:16 no conflicts with yes on the system call bpf/,
    );
    const decided = profilesOf({
      ...parents,
      c: 'extends: [yes, no]\ncapabilities: { drop: [NET_ADMIN] }\nsyscalls: { add: [bpf] }',
    }).get('c');
    assert.deepEqual([decided?.capabilities.includes('NET_ADMIN'), answer(decided, 'bpf')], [false, 'allow']);
  });

  it('decides calls by their arguments', () => {
    const found = profilesOf({
      p: 'syscalls: { drop: [ioctl] }',
      c: 'extends: [p]\nsyscalls: { add: [ioctl: { arg1: [TIOCGWINSZ, TCGETS] }] }',
    }).get('c');
    assert.deepEqual(
      [0x5413n, 0x5401n, 0x5412n, 0x100005413n].map((request) => answer(found, 'ioctl', 0n, request)),
      ['allow', 'allow', 'errno 1', 'allow'],
    );
  });

  it('replaces or removes limits, and otherwise has the lowest limit', () => {
    const parents = { p: 'resources: { memlock: 1Mi, pids: 10, nofile: 5 }', q: 'resources: { nofile: 3 }' };
    const found = profilesOf({
      ...parents,
      c: 'extends: [p, q]\nresources: { memlock: 2Mi, pids: unlimited }',
    }).get('c');
    assert.deepEqual(
      [found?.limits.MEMLOCK?.hard, found?.limits.NOFILE?.soft, found?.resources.pids],
      [2n << 20n, 3n, undefined],
    );
  });

  it('adds to what files and peers others allow', () => {
    const found = profilesOf({
      p: 'files: { read: [/a/**], deny: { write: [/a/x] } }\nnetwork: { egress: [{ to: 10.0.0.0/8, ports: [1/tcp] }] }',
      c: 'extends: [p]\nfiles: { read: [/b/**] }\nnetwork: { egress: [] }',
    }).get('c');
    assert.deepEqual(found?.files, [
      {
        allow: [
          { pattern: '/**', access: ['execute', 'write'] },
          { pattern: '/a/**', access: ['read'] },
          { pattern: '/b/**', access: ['read'] },
        ],
        deny: [{ pattern: '/a/x', access: ['write'] }],
      },
    ]);
    assert.equal(found.egress?.length, 1);
  });

  it('can extend the Pod Security levels', () => {
    const { c, d } = Object.fromEntries(profilesOf({ c: 'extends: [restricted]', d: 'extends: [default]' }));
    const restricted = builtinProfile('restricted');
    assert.ok(
      c !== undefined &&
        restricted !== undefined &&
        contains(restricted, c).yes &&
        contains(c, restricted).yes,
    );
    same(d, builtinProfile('default'));
  });

  const refused: readonly (readonly [
    name: string,
    profiles: Readonly<Record<string, string>>,
    problem: RegExp,
  ])[] = [
    ['itself', { a: 'extends: [a]' }, /^4:11 a extends itself: a → a; remove one of them$/],
    [
      'itself by others',
      { a: 'extends: [b]', b: 'extends: [c]', c: 'extends: [a]' },
      /extends itself: a → b → c → a/,
    ],
    ['nobody', { abc: '', b: 'extends: [abd]' }, /^9:11 there is no profile `abd`; did you mean `abc`\?$/],
    ['privileged', { a: 'extends: [privileged]' }, /^4:11 privileged has no filter/],
    [
      'an entitlement of its own name that it contradicts',
      { debug: 'capabilities: { drop: [SYS_PTRACE] }', a: 'extends: [debug]\nentitlements: [debug]' },
      /debug conflicts with another parent or entitlement of this name on the capability SYS_PTRACE/,
    ],
    [
      'itself with other parameters, which contradict',
      {
        p: "parameters: { no: { type: integer, default: 1 }, yes: { type: integer, default: 2 } }\ndevices: { drop: ['c 1:${no} r'], add: ['c 1:${yes} r'] }",
        a: 'extends: [{ profile: p, with: { no: 3, yes: 8 } }, { profile: p, with: { no: 8, yes: 3 } }]',
      },
      /p conflicts with another parent or entitlement of this name on the device access c 1:[38] r/,
    ],
    [
      'two classes',
      { a: 'extends: [b]\nentitlements: [network.none]', b: 'entitlements: [network.user]' },
      /^5:16 network\.none conflicts with b on the network class: none or user/,
    ],
  ];
  for (const [name, profiles, problem] of refused) {
    it(`cannot extend ${name}`, () => {
      const found = problemsOf(profiles);
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0] ?? '', problem);
    });
  }

  it('is resolved in bounded time, however deep and wide its parents are', () => {
    const chain = Object.fromEntries(
      Array.from({ length: 300 }, (_, at) => [`p${at}`, at === 0 ? '' : `extends: [p${at - 1}]`]),
    );
    assert.match(problemsOf(chain).join('\n'), /its parents are more than 64 deep/);
    const wide = Object.fromEntries(
      Array.from({ length: 30 }, (_, at) => [
        `p${at}`,
        `parameters: { n: { type: integer, default: 1 } }\nresources: { pids: "\${n}" }${
          at === 0
            ? ''
            : `\nextends: [{ profile: p${at - 1}, with: { n: "\${n}" } }, { profile: p${at - 1}, with: { n: ${at + 5} } }]`
        }`,
      ]),
    );
    // Two parents of each of 30 profiles would be a thousand million resolutions, which never end.
    assert.match(problemsOf(wide).join('\n'), /parameters are given more than 200 different values/);
  });
});

describe('parameters', () => {
  const parent =
    'parameters: { port: { type: port }, where: { type: path, default: /srv } }\nfiles: { read: ["${where}/*.html"] }\nnetwork: { ingress: [{ ports: ["${port}/tcp"] }] }';

  it('get values from the profile that extends theirs, or their defaults', () => {
    const files = documents({ p: parent, c: 'extends: [{ profile: p, with: { port: 443 } }]' });
    const { profiles, incomplete, problems } = checkProfiles(files);
    assert.deepEqual(problems, []);
    assert.deepEqual([...incomplete], [['p', ['port']]]);
    const [found] = profiles;
    assert.deepEqual(found?.profile.ingress?.[0]?.ports, { low: 443, high: 443 });
    assert.ok(found.profile.files?.[0]?.allow.some(({ pattern }) => pattern === '/srv/*.html'));
  });

  const refused: readonly (readonly [
    name: string,
    profiles: Readonly<Record<string, string>>,
    problem: RegExp,
  ])[] = [
    [
      'no value',
      { p: parent, c: 'extends: [p]' },
      /^11:11 p needs a value for port; write \{ profile: p, with: \{ port: … \} \}/,
    ],
    [
      'a value of another type',
      { p: parent, c: 'extends: [{ profile: p, with: { port: 0 } }]' },
      /^11:39 0 is not a port; write a number from 1/,
    ],
    [
      'a path with a pattern in it',
      { p: parent, c: 'extends: [{ profile: p, with: { port: 1, where: "/{,**}" } }]' },
      /"\/\{,\*\*\}" is not a path/,
    ],
    [
      'a path with ..',
      { p: parent, c: 'extends: [{ profile: p, with: { port: 1, where: /a/../b } }]' },
      /is not a path/,
    ],
    [
      'a name that does not exist',
      { p: parent, c: 'extends: [{ profile: p, with: { port: 1, were: /a } }]' },
      /^11:48 p has no parameter `were`; use one of: port, where/,
    ],
    [
      'a reference to an unknown parameter',
      { p: 'syscalls: { drop: ["${call}"] }' },
      /^4:20 there is no parameter `call`; declare it/,
    ],
    [
      'a default of another type',
      { p: 'parameters: { n: { type: size, default: much } }\nresources: { memory: "${n}" }' },
      /^4:41 "much" is not a size/,
    ],
  ];
  for (const [name, profiles, problem] of refused) {
    it(`refuse ${name}`, () => {
      const found = problemsOf(profiles);
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0] ?? '', problem);
    });
  }
});

describe('conditions on arguments', () => {
  const refused: readonly (readonly [item: string, problem: RegExp])[] = [
    [
      'socket: { arg0: 0x100000026 }',
      /the kernel reads 32 bits of arg0 of socket: 0x100000026 has more, and would be treated like 38/,
    ],
    ['openat: { arg1: 1 }', /arg1 of openat is a pointer/],
    ['getpid: { arg0: 1 }', /getpid has no arguments/],
    ['close: { arg1: 1 }', /close has one argument, arg0/],
    ['socket: { arg0: AF_IMET }', /arg0 of socket has no value called `AF_IMET`; did you mean `AF_INET`\?/],
    ['sockt: { arg0: 1 }', /there is no system call `sockt` on x86_64 or aarch64; did you mean `socket`\?/],
    ['socket: { arg0: { mask: 1, value: 2 } }', /bits outside the mask/],
    ['write: { arg2: 9..3 }', /the range is empty/],
    ['vserver: { arg0: 1 }', /current kernels have no vserver/],
  ];
  for (const [item, problem] of refused) {
    it(`refuse ${item}`, () => {
      const found = problemsOf({ p: `syscalls: { add: [${item}] }` });
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0] ?? '', problem);
    });
  }

  it('compare what the kernel reads', () => {
    const lines = `syscalls:
  drop: [socket, write, clone, fchmod, keyctl]
  add:
    - socket: { arg0: { not: [AF_ALG, AF_VSOCK] }, arg1: [SOCK_STREAM, SOCK_STREAM|SOCK_CLOEXEC] }
    - write: { arg2: 3..99 }
    - clone: { arg0: { mask: CLONE_NEWUSER|CLONE_NEWNET, value: 0 } }
    - fchmod: { arg1: [0o644, "0x1ed"] }
    - keyctl: [{ arg0: KEYCTL_READ }, { arg0: KEYCTL_SEARCH, arg1: -3 }]`.replace('0o644', '420');
    const found = profilesOf({ p: lines }).get('p');
    const table: readonly (readonly [call: string, args: bigint[], allowed: boolean])[] = [
      ['socket', [2n, 1n], true],
      ['socket', [38n, 1n], false],
      ['socket', [0x100000026n, 1n], false],
      ['socket', [2n, 2n], false],
      ['socket', [2n, 0x80001n], true],
      ['write', [0n, 0n, 3n], true],
      ['write', [0n, 0n, 99n], true],
      ['write', [0n, 0n, 100n], false],
      ['write', [0n, 0n, 0x100000003n], false],
      ['clone', [0x11n], true],
      ['clone', [0x10000000n], false],
      ['fchmod', [0n, 0o644n], true],
      ['fchmod', [0n, 0o755n], true],
      ['fchmod', [0n, 0o10644n | 0x10000n], false],
      ['keyctl', [11n], true],
      ['keyctl', [10n, 0xfffffffffffffffdn], true],
      ['keyctl', [10n, 0n], false],
    ];
    for (const [call, args, allowed] of table)
      assert.equal(answer(found, call, ...args), allowed ? 'allow' : 'errno 1', `${call} ${args.join()}`);
  });
});

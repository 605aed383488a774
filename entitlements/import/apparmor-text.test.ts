import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { appArmorWithin, hasAppArmorParser } from '../apparmor/parser.ts';
import { appArmorProfile } from '../apparmor/profile-text.ts';
import { matchesPath } from '../files/automaton.ts';
import { patternOf } from '../files/pattern-of.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { importAppArmorText } from './apparmor-text.ts';
import type { Imported } from './imported.ts';

const text = (body: string, before = ''): string =>
  `${before}profile x flags=(attach_disconnected, mediate_deleted) {\n${body}\n}\n`;
const read = (body: string, before = ''): Imported => importAppArmorText(text(body, before), 'x.aa');
const answer = (imported: Imported, call: string, ...args: bigint[]): string => {
  const { syscalls } = imported.profile;
  return syscalls.filtered ? decide(decisionFor(syscalls, call), args) : 'unfiltered';
};

describe('denials of an AppArmor text', () => {
  for (const kind of ['signal', 'ptrace', 'dbus', 'all', 'link'])
    for (const rule of [`deny ${kind},`, `audit deny ${kind} (read) peer=y,`])
      it(`${rule} is refused with its line`, () => {
        assert.throws(() => read(`/a r,\n${rule}`), {
          code: 'ENTITLEMENTS_BAD_PROFILE',
          message: /x\.aa:3:1.*would grant more/,
        });
      });

  for (const rule of [
    'set rlimit cpu <= 5,',
    'set rlimit nofile <= 10K,',
    'set rlimit nofile <= $X,',
    'set rlimit as <= 99999999999G,',
    'deny set rlimit nofile <= 10,',
    'set rlimit nice <= -5,',
  ])
    it(`${rule} is refused: it is a bound`, () =>
      assert.throws(() => read(rule), { message: /x\.aa:2:1.*a bound that is left out/ }));

  it('set rlimit rules become limits', () => {
    assert.deepEqual(
      read('set rlimit nofile <= 1024,\nset rlimit as <= 5M,\nset rlimit nproc <= infinity,').profile.limits,
      {
        NOFILE: { soft: 1024n, hard: 1024n },
        AS: { soft: 5n << 20n, hard: 5n << 20n },
      },
    );
  });

  for (const [rule, calls] of [
    ['deny mqueue,', ['mq_open', 'mq_timedsend', 'msgget', 'msgrcv']],
    ['deny mqueue (open) type=posix,', ['mq_open']],
    ['deny io_uring,', ['io_uring_setup', 'io_uring_enter']],
    ['deny umount /mnt/,', ['umount2']],
    ['deny pivot_root,', ['pivot_root']],
  ] as const)
    it(`${rule} removes its system calls, with every capability`, () => {
      const denied = read(`capability,\numount,\npivot_root,\nio_uring,\n${rule}`);
      for (const call of calls) assert.match(answer(denied, call), /^errno (1|13)$/, call);
      const allowed = read('capability,\numount,\npivot_root,');
      for (const call of calls.filter((name) => !name.startsWith('io_uring') && name !== 'pivot_root'))
        assert.equal(answer(allowed, call), 'allow', call);
    });

  it('of user namespaces leave the other flags of clone(2) and unshare(2)', () => {
    const denied = read('capability,\ndeny userns,');
    for (const call of ['clone', 'unshare']) {
      assert.equal(answer(denied, call, 0x10000000n), 'errno 13');
      assert.equal(answer(denied, call, 0x50000000n), 'errno 13');
      assert.equal(answer(denied, call, 0x40000000n), 'allow');
    }
    assert.equal(answer(denied, 'clone3'), 'errno 38');
    assert.equal(answer(read('capability,'), 'unshare', 0x10000000n), 'allow');
  });

  it('follow from what a text of ABI 4.0 does not mention', () => {
    const before = 'abi <abi/4.0>,\n';
    const left = read('capability,', before);
    assert.equal(answer(left, 'mq_open'), 'errno 13');
    assert.equal(answer(left, 'unshare', 0x10000000n), 'errno 13');
    const named = read('capability,\nmqueue,\nuserns create,', before);
    assert.equal(answer(named, 'mq_open'), 'allow');
    assert.equal(answer(named, 'unshare', 0x10000000n), 'allow');
  });

  it('follow from what any text does not mention: umount(2), pivot_root(2), and local sockets that are allowed to some', () => {
    const left = read('capability,\nmount,\numount /a/,\nunix (send) peer=(label=y),');
    assert.equal(answer(left, 'umount2'), 'errno 13');
    assert.equal(answer(left, 'pivot_root'), 'errno 1');
    assert.equal(answer(left, 'socket', 1n), 'errno 13');
    assert.match(
      left.unmapped.map(({ why }) => why).join(),
      /local sockets; it grants nothing.*write umount, without conditions/,
    );
  });
});

describe('sockets of an AppArmor text', () => {
  const [INET, NETLINK, PACKET] = [2n, 16n, 17n];
  const [STREAM, DGRAM, RAW, SOCK_PACKET, CLOEXEC] = [1n, 2n, 3n, 10n, 0x80000n];
  // The rules of each line as apparmor_parser -d lists them.
  for (const [body, allowed, denied] of [
    [
      'network,',
      [
        [INET, RAW],
        [INET, SOCK_PACKET],
        [PACKET, RAW],
      ],
      [],
    ],
    [
      'network, deny network packet,',
      [
        [INET, RAW],
        [NETLINK, RAW],
      ],
      [
        [PACKET, RAW],
        [INET, SOCK_PACKET],
      ],
    ],
    [
      'network, deny network raw,',
      [
        [INET, STREAM],
        [NETLINK, DGRAM],
      ],
      [
        [PACKET, RAW],
        [INET, RAW],
      ],
    ],
    ['network, deny network tcp,', [[NETLINK, STREAM]], [[INET, STREAM]]],
    [
      'network, deny network packet packet,',
      [[PACKET, RAW]],
      [
        [PACKET, SOCK_PACKET],
        [INET, SOCK_PACKET],
      ],
    ],
    [
      'network inet tcp,',
      [[INET, STREAM]],
      [
        [INET, DGRAM],
        [INET, RAW],
        [PACKET, RAW],
      ],
    ],
    [
      'network udp,',
      [[INET, DGRAM]],
      [
        [INET, STREAM],
        [INET, RAW],
        [NETLINK, DGRAM],
      ],
    ],
    ['network inet,', [[INET, RAW]], [[INET, SOCK_PACKET]]],
    [
      'network inet, network packet,',
      [
        [INET, SOCK_PACKET],
        [PACKET, DGRAM],
      ],
      [[NETLINK, RAW]],
    ],
    [
      'network netlink raw,',
      [[NETLINK, RAW]],
      [
        [NETLINK, DGRAM],
        [INET, RAW],
      ],
    ],
  ] as const)
    it(`are those of ${body}`, () => {
      const imported = read(body);
      assert.deepEqual(imported.unmapped, []);
      for (const [family, type] of allowed)
        for (const flags of [0n, CLOEXEC])
          assert.equal(answer(imported, 'socket', family, type | flags), 'allow', `${family} ${type}`);
      for (const [family, type] of denied)
        for (const flags of [0n, CLOEXEC])
          assert.equal(answer(imported, 'socket', family, type | flags), 'errno 13', `${family} ${type}`);
    });
});

describe('includes, aliases and variables of an AppArmor text', () => {
  it('an include that only grants is listed, and grants nothing', () => {
    const { unmapped } = read(
      'file,\n#include <abstractions/base>\ninclude if exists <abstractions/openssl>',
    );
    assert.deepEqual(
      unmapped.map(({ part }) => part),
      ['x.aa:3', 'x.aa:4'],
    );
  });

  for (const include of [
    '#include <abstractions/private-files-strict>',
    'include if exists <local/x>',
    'include "/etc/apparmor.d/abstractions/base"',
  ])
    it(`${include} is refused, because it may contain denials`, () =>
      assert.throws(() => read(`file,\n${include}`), { message: /x\.aa:3:1.*may contain denials/ }));

  for (const lines of [
    '#include <abstractions/base> deny /a r,',
    '/b r, #include <abstractions/private-files>',
    '/b r, include <abstractions/base>\ndeny /a r,',
    '/b r,#include <abstractions/base>\ndeny /a r,',
  ])
    it(`${lines.replace('\n', ' ')} is refused: the rule beside an include would be lost`, () =>
      assert.throws(() => read(`file,\n${lines}`), { code: 'ENTITLEMENTS_BAD_PROFILE' }));

  it('an include without a space is not a comment', () =>
    assert.throws(() => read('file,\n#include<local/x>'), { message: /may contain denials/ }));

  it('an alias is refused: denials also apply to the paths that it adds', () =>
    assert.throws(() => read('file,\ndeny /home/** rw,', 'alias /home/ -> /mnt/users/,\n'), {
      message: /x\.aa:1:1.*aliases are not read/,
    }));

  for (const line of ['@{sys}=/foo', '@{PROC} += /other/', '@{pid}=1'])
    it(`${line} is refused: it changes a known variable`, () =>
      assert.throws(() => read('file,\ndeny @{sys}/** r,', `${line}\n`), { message: /x\.aa:1:1.*variable/ }));

  it('other variables, and the usual values, are accepted', () =>
    assert.deepEqual(read('deny /a r,', '@{HOME}=/root\n@{PROC}=/proc/\n@{sys} = /sys\n').unmapped, []));

  for (const abi of ['abi "abi/4.0",', 'abi <kernel>,', 'abi </etc/apparmor.d/abi/4.0>,'])
    it(`${abi} denies what the text does not mention`, () =>
      assert.equal(answer(read('file,', `${abi}\n`), 'mq_open'), 'errno 13'));

  it('abi <abi/3.0> does not mediate message queues', () =>
    assert.equal(answer(read('file,', 'abi <abi/3.0>,\n'), 'mq_open'), 'allow'));
});

describe('the end of a rule of an AppArmor text', () => {
  // For apparmor_parser 3.0.8 each first line is one rule about one path with a comma in it.
  for (const rule of ['deny r /a,/b,', 'r /a,/b,', 'deny r /\\{,/**,', 'capability chown,network,'])
    it(`${rule} is refused: the comma in it ends no rule`, () =>
      assert.throws(() => read(`file,\n${rule}`), {
        message: /x\.aa:3:1.*a comma must be followed by a space/,
      }));

  it('is found after a brace in a class of characters, and a comma in a quoted path ends none', () => {
    const { profile, unmapped } = read('/** r,\ndeny /a[{] r,\ndeny "/b,/c" r, deny /d[}] r,');
    assert.deepEqual(unmapped, []);
    assert.deepEqual(
      profile.files?.flatMap(({ deny }) => deny.map(({ pattern }) => pattern)),
      ['/a[{]', '/b,/c', '/d[}]'],
    );
  });
});

describe('a path of an AppArmor text', () => {
  it('keeps a quote that is escaped', () => {
    const { profile } = read('/** r,\ndeny /a\\"* r,');
    const { pattern = '' } = profile.files?.[0]?.deny[0] ?? {};
    assert.deepEqual(
      ['/a"b', '/a*b'].map((path) => matchesPath(patternOf(pattern), path)),
      [true, false],
    );
  });

  it('that begins with two slashes matches nothing: it grants nothing, and denies nothing that is there', () => {
    assert.deepEqual(read('//** rm,').profile.files?.[0]?.allow, []);
    assert.throws(() => read('//** rm,\ndeny //** r,'), { message: /x\.aa:3:1.*begins with two slashes/ });
    assert.deepEqual(
      read('///a rm,').profile.files?.[0]?.allow.map(({ pattern }) => pattern),
      ['/a'],
    );
  });
});

const OPEN = 'nosuid,nodev,noexec,sync,dirsync,mand,noatime,nodiratime,relatime,strictatime,iversion,silent';

describe('mounts of an AppArmor text', () => {
  it('may be unmounted if the text allows it for each mount', () => {
    const mounts = 'capability,\nmount fstype=tmpfs -> "/mnt/a{,/}",\nmount fstype=ext4 -> /b/,';
    assert.equal(answer(read(`${mounts}\numount "/mnt/a{,/}",\numount /b/,`), 'umount2'), 'allow');
    assert.equal(answer(read(`${mounts}\numount /b/,`), 'umount2'), 'errno 13');
    assert.equal(answer(read(`${mounts}\numount /mnt/**,\numount /b/,`), 'umount2'), 'errno 13');
    assert.equal(
      answer(read(`${mounts}\numount "/mnt/a{,/}",\numount /b/,\ndeny umount /b/,`), 'umount2'),
      'errno 13',
    );
  });

  for (const [rule, targets] of [
    ['mount,', ['* /**']],
    ['mount -> /mnt/,', ['* /mnt/']],
    ['mount fstype=tmpfs -> "/mnt/a{,/}",', ['tmpfs /mnt/a']],
    ['mount fstype=(tmpfs,ext4) -> /mnt/**,', ['tmpfs /mnt/?**', 'ext4 /mnt/?**']],
    [`mount fstype=ext4 options=(ro) options in (${OPEN}) -> /mnt/,`, ['ext4 /mnt/ ro']],
    [`mount options in (acl,${OPEN}) options=ro -> /mnt/,`, ['* /mnt/ ro']],
    // Each of these would be wider as a profile's rule.
    ['mount fstype=ext4 options=(ro) -> /mnt/,', []],
    [`mount options in (ro,${OPEN}) -> /mnt/,`, []],
    [`mount options=(rw) options in (${OPEN}) -> /mnt/,`, []],
    ['mount fstype=ext4 /dev/sda1 -> /mnt/,', []],
    ['mount fstype=ext* -> /mnt/,', []],
    ['mount fstype=ext4 -> /mnt,', []],
    ['mount options=(bind) -> /mnt/,', []],
  ] as const)
    it(`${rule} grants ${targets.join(' and ') || 'nothing'}`, () => {
      const { profile, unmapped } = read(rule);
      assert.deepEqual(
        profile.mounts?.map(({ fstype, target, readonly }) => `${fstype} ${target}${readonly ? ' ro' : ''}`),
        targets,
      );
      assert.equal(unmapped.length, targets.length === 0 ? 1 : 0);
    });
});

describe(
  'an AppArmor text, imported and written out again',
  { skip: !hasAppArmorParser() && 'apparmor_parser is not installed' },
  () => {
    /** Rules that a profile always has, and those that it does not distinguish (see the import's notes). */
    const always =
      'capability,\nnetwork,\nsignal,\nptrace,\numount,\npivot_root,\n/dev/ rwmkl,\n/dev/** rwmkl,';
    for (const body of [
      [
        '/app/** rm,',
        '/app/* rm,',
        '/b/*/x rm,',
        '/c/*.txt rm,',
        '/d/**x rm,',
        '/e{/*,b} rm,',
        '/f/{*,b/**} rm,',
      ].join('\n'),
      '/** rwmkl,\ndeny /etc/** w,\ndeny /usr/* r,',
      'mount fstype=(tmpfs,ext4) -> /mnt/**,\nmount -> /x/**,\nmount fstype=proc -> /y/,',
      `mount options=(ro) options in (${OPEN},acl) -> /mnt/**,`,
    ])
      it(`grants no more, by the compiled automata: ${body.replaceAll('\n', ' ').slice(0, 80)}`, async () => {
        const { profile, unmapped } = read(`capability sys_admin,\numount,\n${body}`);
        assert.deepEqual(unmapped, []);
        const written = appArmorProfile(profile)?.text ?? '';
        assert.deepEqual(await appArmorWithin(written, text(`${always}\n${body}`)), { yes: true });
      });
  },
);

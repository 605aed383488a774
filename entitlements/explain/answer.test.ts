import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compile } from '../compile/compile.ts';
import { checkProfiles } from '../document/check.ts';
import type { Profile } from '../profile/model.ts';
import { answer } from './answer.ts';
import { parseQuestion } from './question.ts';

const read = (mounts: string): Profile => {
  const { profiles, problems } = checkProfiles([
    {
      file: 'x.yaml',
      text: `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: x }\nentitlements: [kernel.mounts]\n${mounts}\n`,
    },
  ]);
  assert.deepEqual(problems, []);
  const [named] = profiles;
  assert.ok(named !== undefined);
  return named.profile;
};

describe('an answer about a system call that mounts', () => {
  const calls = ['fsopen', 'fsmount', 'move_mount', 'open_tree', 'mount_setattr', 'mount', 'pivot_root'];
  for (const [mounts, allowed] of [
    ['', calls],
    ['mounts: []', []],
    ['mounts: [{ target: /mnt/**, fstype: tmpfs }]', ['mount', 'pivot_root']],
  ] as const)
    it(`is that of the compiled filter, with ${mounts === '' ? 'no rules on mounts' : mounts}`, () => {
      const profile = read(mounts);
      const { seccomp } = compile(profile, {
        architecture: 'x86_64',
        runtime: 'crun',
        kernel: { seccomp: true, apparmor: true, expanded: {} },
      });
      const passed = seccomp?.oci.syscalls.flatMap(({ names, action }) =>
        action === 'SCMP_ACT_ALLOW' ? names : [],
      );
      for (const call of calls) {
        const yes = allowed.some((name) => name === call);
        assert.equal(answer(profile, parseQuestion(call)).yes, yes, call);
        assert.equal(passed?.includes(call), yes, call);
      }
    });
});

describe('an answer about a call that needs a capability', () => {
  const drop = 'capabilities: { drop: [ALL] }';
  const ask = (text: string, own: string) => {
    const { profiles } = checkProfiles([
      {
        file: 'x.yaml',
        text: `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: x }\n${own}\n`,
      },
    ]);
    const [named] = profiles;
    assert.ok(named !== undefined);
    return answer(named.profile, parseQuestion(text));
  };

  it('is no without the capability, and names it', () => {
    const found = ask('socket(AF_PACKET)', drop);
    assert.equal(found.yes, false);
    assert.match(found.reasons.join('\n'), /refuses it without NET_RAW/);
  });

  it('is yes if a user namespace can be made in which a program has it', () => {
    const found = ask('socket(AF_PACKET)', `entitlements: [kernel.user-namespaces]\n${drop}`);
    assert.equal(found.yes, true);
    assert.match(found.reasons.join('\n'), /unshare\(CLONE_NEWUSER\).*\n.*has NET_RAW/);
  });

  it('is no in a user namespace too, if only the host’s own counts', () => {
    const own = `entitlements: [kernel.user-namespaces]\n${drop}\nsyscalls: { add: [swapon] }`;
    assert.equal(ask('swapon', own).yes, false);
  });

  it('has a witness that needs none, if there is one', () => {
    assert.equal(ask('socket(_, SOCK_RAW)', drop).witness, 'socket(AF_UNSPEC, SOCK_RAW)');
  });
});

describe('an answer that no program can do it', () => {
  const ask = (own: string, question: string): boolean => {
    const text = `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: x }\n${own}\n`;
    const { profiles, problems } = checkProfiles([{ file: 'x.yaml', text }]);
    assert.deepEqual(problems, []);
    const [named] = profiles;
    assert.ok(named !== undefined);
    return answer(named.profile, parseQuestion(question)).yes;
  };
  const admin = 'capabilities: { add: [SYS_ADMIN] }';
  const sending = 'connect, sendto, sendmsg, sendmmsg';
  for (const [own, question, can] of [
    ['syscalls: { drop: [connect] }', 'connect udp 10.0.0.1:53', true],
    ['syscalls: { drop: [connect] }', 'connect tcp 10.0.0.1:53', true],
    ['syscalls: { drop: [connect] }', 'connect icmp 10.0.0.1', true],
    [`syscalls: { drop: [${sending}] }`, 'connect udp 10.0.0.1:53', false],
    [`syscalls: { drop: [${sending}], add: [io_uring_setup] }`, 'connect udp 10.0.0.1:53', true],
    [
      'syscalls: { drop: [connect, sendmsg, sendmmsg, sendto], add: [{ sendto: { arg3: 0 } }] }',
      'connect tcp 10.0.0.1:53',
      false,
    ],
    ['entitlements: [kernel.io-uring]', 'socket(AF_ALG)', true],
    ['entitlements: [kernel.io-uring]', 'keyctl', false],
    ['entitlements: [kernel.io-uring]\ncapabilities: { drop: [ALL] }', 'socket(AF_PACKET)', false],
    ['syscalls: { drop: [bind] }', 'accept tcp 10.0.0.1:40000', true],
    ['syscalls: { drop: [listen] }', 'accept tcp 10.0.0.1:40000', false],
    ['syscalls: { drop: [bind] }', 'accept udp 10.0.0.1:40000', true],
    [`syscalls: { drop: [bind, ${sending}] }`, 'accept udp 10.0.0.1:40000', false],
    ['syscalls: { drop: [{ socket: { arg0: AF_INET } }] }', 'connect tcp 10.0.0.1:53', true],
    ['syscalls: { drop: [{ socket: { arg0: [AF_INET, AF_INET6] } }] }', 'connect tcp 10.0.0.1:53', true],
    [
      'syscalls: { drop: [{ socket: { arg0: [AF_INET, AF_INET6, AF_PACKET, AF_SMC] } }] }',
      'connect tcp 10.0.0.1:53',
      false,
    ],
    [`${admin}\nsyscalls: { drop: [mount, fsopen, open_tree], add: [open_tree_attr] }`, 'mount', true],
    [`${admin}\nsyscalls: { drop: [mount, fsopen, open_tree] }`, 'mount', false],
    ['', 'write /proc/sys/kernel/hostname', false],
    [admin, 'write /proc/sys/kernel/hostname', true],
    [admin, 'read /proc/kcore', true],
    [`${admin}\nentitlements: [security.fs-read-only]`, 'write /etc/passwd', true],
    [`${admin}\nmounts: []`, 'read /proc/kcore', false],
  ] as const)
    it(`is given only if that holds: ${question}, with ${own.replaceAll('\n', ', ') || 'the default'}`, () =>
      assert.equal(ask(own, question), can));
});

it('a device with * for a number stands for all such devices', () => {
  const profile = read('devices: { add: [c 10:* r] }');
  for (const [question, yes, words] of [
    ['device c 10:* r', true, /contains all of them/u],
    ['device c *:* r', false, /does not grant reading of all of them/u],
    ['device c 10:* rw', false, /does not grant writing of all of them/u],
    ['device c 11:1 r', false, /grants no reading of it/u],
  ] as const) {
    const found = answer(profile, parseQuestion(question));
    assert.equal(found.yes, yes, question);
    assert.match(JSON.stringify(found), words);
  }
});

it('standard devices are allowed whatever the list of devices and the file rules contain', () => {
  const profile = read(
    "devices: { drop: ['c 1:3 rw'] }\nfiles: { read: [/app/**], deny: { read: [/dev/zero] } }",
  );
  for (const [question, yes] of [
    ['device c 1:3 rw', true],
    ['device c 1:11 r', false],
    ['read /dev/null', true],
    ['read /dev/pts/0', true],
    ['read /dev/zero', false],
    ['read /dev/kmsg', false],
  ] as const)
    assert.equal(answer(profile, parseQuestion(question)).yes, yes, question);
});

it('an IPv4-mapped address is the IPv4 peer that the kernel sends to', () => {
  const ruled = read('network: { egress: [{ to: 10.0.0.0/8 }], ingress: [] }');
  for (const [question, yes] of [
    ['connect tcp [::ffff:a00:1]:80', true],
    ['connect tcp [::ffff:10.0.0.1]:80', true],
    ['connect tcp [::ffff:b00:1]:80', false],
    ['accept tcp [::ffff:127.0.0.1]:80', true],
  ] as const)
    assert.equal(answer(ruled, parseQuestion(question)).yes, yes, question);
});

it('peer rules and the network class do not restrict the loopback of the pod', () => {
  const ruled = read('network: { egress: [{ to: 10.0.0.0/8 }], ingress: [] }');
  const without = read('network: { egress: [] }\nsyscalls: { drop: [socket] }');
  for (const [profile, question, yes] of [
    [ruled, 'connect tcp 127.0.0.1:80', true],
    [ruled, 'connect udp [::1]:53', true],
    [ruled, 'accept tcp 127.9.9.9:80', true],
    [ruled, 'connect tcp 128.0.0.1:80', false],
    [{ ...ruled, network: 'none' }, 'connect tcp 127.0.0.1:80', true],
    [{ ...ruled, network: 'none' }, 'connect tcp 10.0.0.1:80', false],
    [without, 'connect tcp 127.0.0.1:80', false],
  ] as const)
    assert.equal(answer(profile, parseQuestion(question)).yes, yes, question);
});

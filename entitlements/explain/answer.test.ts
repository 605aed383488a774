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

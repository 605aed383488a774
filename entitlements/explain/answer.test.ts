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

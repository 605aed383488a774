import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { compile } from '../compile/compile.ts';
import { temporaryBundle } from '../compile/fixtures/container.ts';
import { CODE_ADDRESS, probeProgram, probeResults } from '../compile/fixtures/probe-program.ts';
import type { RawCall } from '../compile/fixtures/probe-program.ts';
import { detectKernel } from '../compile/kernel.ts';
import { checkProfiles } from '../document/check.ts';
import type { Profile } from '../profile/model.ts';
import { answer } from './answer.ts';
import { parseQuestion } from './question.ts';

/** The first call of the program has the text `/` as an argument, after 10 bytes of its number. */
const ROOT = CODE_ADDRESS + 12n;
const WITH_ROOT: RawCall = { nr: 39, args: [0x2fn] };

const CALLS: Readonly<Record<string, RawCall>> = {
  acct: { nr: 163 },
  chroot: { nr: 161, args: [ROOT] },
  mount: { nr: 165, args: [ROOT, ROOT, ROOT] },
  pivot_root: { nr: 155, args: [ROOT, ROOT] },
  reboot: { nr: 169 },
  setdomainname: { nr: 171, args: [ROOT, 1n] },
  setgroups: { nr: 116 },
  sethostname: { nr: 170, args: [ROOT, 1n] },
  settimeofday: { nr: 164 },
  swapoff: { nr: 168, args: [ROOT] },
  swapon: { nr: 167, args: [ROOT] },
  umount2: { nr: 166, args: [ROOT] },
  vhangup: { nr: 153 },
  'socket(AF_PACKET)': { nr: 41, args: [17n, 3n] },
  'socket(AF_INET, SOCK_RAW)': { nr: 41, args: [2n, 3n, 1n] },
  'socket(AF_INET, 0x80003)': { nr: 41, args: [2n, 0x80003n, 1n] },
  'socket(AF_INET6, SOCK_RAW)': { nr: 41, args: [10n, 3n, 58n] },
};

function missing(): string | false {
  if (process.arch !== 'x64') return 'the probe program is x86_64 code';
  if (process.getuid?.() !== 0) return 'it takes root to start containers';
  for (const command of ['crun', 'busybox', 'unshare'])
    if (spawnSync(command, ['--help']).error !== undefined) return `${command} is not installed`;
  return false;
}

/** Returns a profile whose filter lets all of these calls through. */
function profileWith(capabilities: string): Profile {
  const calls = Object.keys(CALLS).filter((name) => !name.includes('('));
  const text = `apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: x }
capabilities: { drop: [ALL], add: [${capabilities}] }
syscalls: { add: [${calls.join(', ')}] }
`;
  const { profiles, problems } = checkProfiles([{ file: 'x.yaml', text }]);
  assert.deepEqual(problems, []);
  const [named] = profiles;
  assert.ok(named !== undefined);
  return named.profile;
}

describe('answers about calls for which the kernel demands a capability', { skip: missing() }, () => {
  let bundle: ReturnType<typeof temporaryBundle>;
  before(() => {
    bundle = temporaryBundle();
  });
  after(() => bundle.remove());

  function permitted(profile: Profile, questions: readonly string[]): Map<string, boolean> {
    const calls = questions.map((question) => CALLS[question] ?? { nr: -1 });
    writeFileSync(join(bundle.root, 'bin/probe'), probeProgram([WITH_ROOT, ...calls]), { mode: 0o755 });
    const settings = compile(profile, { architecture: 'x86_64', runtime: 'crun', kernel: detectKernel() });
    const { status, stdout, stderr } = bundle.run('crun', settings, ['/bin/probe']);
    assert.equal(status, 0, stderr);
    const results = probeResults(stdout).slice(1);
    return new Map(questions.map((question, at) => [question, results[at] !== -1n]));
  }

  for (const [capabilities, questions] of [
    ['', Object.keys(CALLS)],
    [
      'NET_RAW, SETGID, SYS_CHROOT',
      ['chroot', 'setgroups', ...Object.keys(CALLS).filter((name) => name.includes('('))],
    ],
  ] as const)
    it(`agree with the kernel, with ${capabilities || 'no capability'}`, () => {
      const profile = profileWith(capabilities);
      const answers = questions.map(
        (question) => [question, answer(profile, parseQuestion(question)).yes] as const,
      );
      assert.deepEqual(permitted(profile, questions), new Map(answers));
    });

  it('that a program reaches peers without connect agree with the kernel', () => {
    const text = `apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: x }
syscalls: { drop: [connect] }
`;
    const [named] = checkProfiles([{ file: 'x.yaml', text }]).profiles;
    assert.ok(named !== undefined);
    // The peer 127.0.0.1:53 as a sockaddr_in is in the first call of the program.
    const calls: RawCall[] = [
      { nr: 39, args: [0x0100007f_35000002n] },
      { nr: 41, args: [2n, 2n] },
      { nr: 44, args: [3n, ROOT, 1n, 0n, ROOT, 16n] },
      { nr: 41, args: [2n, 1n] },
      { nr: 44, args: [4n, ROOT, 1n, 0x20000000n, ROOT, 16n] },
      { nr: 42, args: [4n, ROOT, 16n] },
    ];
    writeFileSync(join(bundle.root, 'bin/probe'), probeProgram(calls), { mode: 0o755 });
    const settings = compile(
      { ...named.profile, ambient: [] },
      { architecture: 'x86_64', runtime: 'crun', kernel: detectKernel() },
    );
    const { status, stdout, stderr } = bundle.run('crun', settings, ['/bin/probe']);
    assert.equal(status, 0, stderr);
    // Sent; ECONNREFUSED, because the kernel did connect.
    assert.deepEqual(probeResults(stdout).slice(2), [1n, 4n, -111n, -1n]);
    for (const question of ['connect udp 127.0.0.1:53', 'connect tcp 127.0.0.1:53'])
      assert.equal(answer(named.profile, parseQuestion(question)).yes, true);
  });

  it('that a program undoes the mounts of the runtime agree with the kernel', () => {
    const profile = profileWith('SYS_ADMIN');
    const settings = compile(profile, { architecture: 'x86_64', runtime: 'crun', kernel: detectKernel() });
    const script =
      'busybox umount /proc/sys; echo undone > /proc/sys/kernel/hostname; cat /proc/sys/kernel/hostname';
    const { stdout } = bundle.run('crun', settings, ['sh', '-c', script]);
    assert.equal(stdout.toString(), 'undone\n');
    assert.equal(answer(profile, parseQuestion('write /proc/sys/kernel/hostname')).yes, true);
  });
});

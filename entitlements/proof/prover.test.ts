import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, describe, it } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { compile } from '../compile/compile.ts';
import type { Target } from '../compile/target.ts';
import { defaultProfile, topProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { always, decision } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import { createProver } from './prover.ts';

const target: Target = {
  architecture: 'x86_64',
  runtime: 'crun',
  kernel: { seccomp: true, apparmor: false, expanded: {} },
};

/** Returns the profile with one additional call that it forbids. */
function looser(profile: Profile): Profile {
  assert.ok(profile.syscalls.filtered);
  return {
    ...profile,
    syscalls: filteredPolicy(profile.syscalls.fallback, [
      ...profile.syscalls.rules,
      ['bpf', always('allow')],
    ]),
  };
}

describe('the prover', () => {
  const prover = createProver();
  after(() => prover.close());

  it('returns what compile returns, proved in a Worker, and caches it', async () => {
    const settings = await prover.settings(defaultProfile(), target);
    assert.deepEqual(settings, compile(defaultProfile(), target));
    assert.equal(await prover.settings({ ...defaultProfile() }, { ...target }), settings);
    assert.notEqual(await prover.settings(defaultProfile(), { ...target, runtime: 'runc' }), settings);
    assert.equal((await prover.settings(topProfile(), target)).seccomp, undefined);
  });

  it('answers in the Worker that was started before the first question, which ends when it is idle', async () => {
    const started: Worker[] = [];
    const count = (worker: Worker): void => void started.push(worker);
    process.on('worker', count);
    const early = createProver({ idleMs: 300 });
    try {
      early.warm?.();
      await early.settings(defaultProfile(), target);
      const [only] = started;
      assert.equal(started.length, 1);
      await once(only ?? assert.fail(), 'exit');
    } finally {
      process.off('worker', count);
      await early.close();
    }
  });

  it('ends its Worker on request when no question waits', async () => {
    const started: Worker[] = [];
    const count = (worker: Worker): void => void started.push(worker);
    process.on('worker', count);
    const resting = createProver({ idleMs: 60_000 });
    try {
      resting.warm?.();
      const answer = resting.settings(defaultProfile(), target);
      resting.rest?.();
      assert.deepEqual(await answer, compile(defaultProfile(), target));
      resting.rest?.();
      await once(started[0] ?? assert.fail(), 'exit');
      assert.deepEqual(
        await resting.settings(topProfile(), target),
        compile(topProfile(), target),
        'the next question starts another one',
      );
      assert.equal(started.length, 2);
    } finally {
      process.off('worker', count);
      await resting.close();
    }
  });

  it('keeps a kill-process fallback when the runtime’s base set is added', async () => {
    const { syscalls } = defaultProfile();
    assert.ok(syscalls.filtered);
    const strict = { ...defaultProfile(), syscalls: filteredPolicy('kill-process', syscalls.rules) };
    assert.equal((await prover.settings(strict, target)).seccomp?.oci.defaultAction, 'SCMP_ACT_KILL_PROCESS');
  });

  it('passes on the refusals of compile', async () => {
    const kernel = { ...target.kernel, seccomp: false };
    await assert.rejects(prover.settings(defaultProfile(), { ...target, kernel }), {
      code: 'ENTITLEMENTS_UNSUPPORTED',
    });
  });

  it('refuses a miscompilation, every time it is asked, with a witness in words', async () => {
    const planted = createProver({ generate: (profile, where) => compile(looser(profile), where) });
    for (let times = 0; times < 2; times++) {
      await assert.rejects(planted.settings(defaultProfile(), target), {
        code: 'ENTITLEMENTS_MISCOMPILED',
        message: /x86_64 bpf\(\): the profile says errno 1, the program answers allow/,
      });
    }
    await planted.close();
  });

  it('refuses when its Worker is silent, ends or cannot be asked, and works again afterwards', async () => {
    const impatient = createProver({ patienceMs: 1 });
    await assert.rejects(impatient.settings(defaultProfile(), target), { code: 'ENTITLEMENTS_TOO_COMPLEX' });
    await impatient.close();
    const ended = createProver();
    const asked = ended.settings(defaultProfile(), target);
    const refused = assert.rejects(asked, { code: 'ENTITLEMENTS_UNPROVED' });
    await ended.close();
    await refused;
    await assert.rejects(ended.settings(defaultProfile(), target), {
      code: 'ENTITLEMENTS_UNPROVED',
      message: /closed/,
    });
    let broken = true;
    const odd = createProver({
      generate: (profile, where) =>
        broken
          ? Object.assign({ ...compile(profile, where) }, { no: () => 'clone' })
          : compile(profile, where),
    });
    await assert.rejects(odd.settings(defaultProfile(), target), {
      code: 'ENTITLEMENTS_UNPROVED',
      message: /cannot be sent/,
    });
    broken = false;
    assert.ok((await odd.settings(defaultProfile(), target)).seccomp !== undefined);
    await odd.close();
  });

  it('refuses after two seconds what it cannot prove, and proves the next', async () => {
    const pieces = Array.from({ length: 32 }, (_, bit) => {
      const tests = [0, 1].map((index) =>
        argumentTest(index, 64, { mask: 1n << BigInt(bit), value: 1n << BigInt(bit) }),
      );
      return { outcome: 'allow' as const, when: tests.filter((test) => test !== undefined) };
    });
    const hard = {
      ...defaultProfile(),
      syscalls: filteredPolicy('errno 1', [['mremap', decision('errno 1', pieces)]]),
    };
    const [first, second] = await Promise.allSettled([
      prover.settings(hard, target),
      prover.settings(defaultProfile(), { ...target, runtime: 'third' }),
    ]);
    assert.equal(
      first.status === 'rejected' && (first.reason as { code: string }).code,
      'ENTITLEMENTS_TOO_COMPLEX',
    );
    assert.equal(second.status, 'fulfilled');
  });
});

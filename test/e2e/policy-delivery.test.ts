import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { AdminPolicyStatus } from '../../cni-plugins/index.ts';
import { portcullis } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { patience } from '../fixtures/daemon.ts';
import { createContainer, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** A publisher, a registry and a node, by the commands of docs/policy-delivery.md. */
describe('policy delivery', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-policy-'));
  const policy = join(folder, 'policy');
  let stage: Stage;
  const environment = {
    ...process.env,
    HOME: folder,
    PORTCULLIS_TRUST_DIR: join(folder, 'trust'),
    PORTCULLIS_PASSPHRASE: 'correct horse',
  };
  const command = (...words: string[]): Promise<Ended> => portcullis(words, environment);
  const done = async (...words: string[]): Promise<string> => {
    const ended = await command(...words);
    assert.equal(ended.code, 0, ended.output);
    return ended.stdout;
  };
  const asked = (): Promise<Ended> =>
    command('policy', 'status', '--admin-socket', join(folder, 'state/admin.sock'), '--output', 'json');
  const status = async (): Promise<AdminPolicyStatus> => {
    const { stdout, output } = await asked();
    assert.notEqual(stdout, '', output);
    return JSON.parse(stdout) as AdminPolicyStatus;
  };
  const until = async (wanted: (status: AdminPolicyStatus) => boolean): Promise<AdminPolicyStatus> => {
    let last: AdminPolicyStatus = {};
    for (const end = performance.now() + patience; performance.now() < end; await pause(100)) {
      last = await status();
      if (wanted(last)) return last;
    }
    return assert.fail(`${JSON.stringify(last)}\n${stage.daemon.log().slice(-2000)}`);
  };

  before(async () => {
    chmodSync(folder, 0o711);
    const config = join(folder, 'config.yaml');
    stage = await openStage({
      folder,
      subscribed: true,
      flags: ['--config', config],
      async prepare({ host }) {
        const place = `oci://${host}/fleet/policy`;
        await done('trust', 'init', 'fleet/policy', '--to', place);
        const published = await done('policy', 'publish', policy, 'fleet/policy', '--output', 'json');
        const { root } = JSON.parse(published) as { readonly root: string };
        const subscribe = ['policy', 'subscribe', place, '--root-file', join(folder, 'root.json')];
        const wrong = await command(...subscribe, '--root-digest', `sha256:${'0'.repeat(64)}`);
        assert.equal(wrong.code, 1, wrong.output);
        assert.match(wrong.output, /POLICY_ROOT_OTHER|first root is sha256:/u);
        const checked = await done(
          ...[...subscribe, '--root-digest', root, '--interval', '1', '--node', 'n1'],
          ...['--label', 'policy-stage=canary', '--output', 'json'],
        );
        writeFileSync(config, JSON.stringify((JSON.parse(checked) as { readonly config: object }).config));
        return {};
      },
    });
  });
  after(async () => {
    try {
      await stage.close();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('puts a release in force, halts a bad release, and applies an urgent release, which verdicts name', async () => {
    const { reference } = await stage.publish('app/a:1');
    const first = await until(({ subscription }) => subscription?.state === 'current');
    assert.equal(first.subscription?.release?.number, 1);
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'web');
    await runContainer(stage, pod, { image, reference, command: ['sleep', '600'] });

    stage.writePolicy(plainPolicy.replace('good.test/**', 'other.test/**'));
    await done('policy', 'publish', policy, 'fleet/policy', '--stage', 'canary=policy-stage=canary');
    const halted = await until(({ subscription }) => subscription?.state === 'halted');
    assert.equal(halted.revision, first.revision);
    assert.equal(halted.subscription?.halted?.denials[0]?.reference, reference);
    const report = join(folder, 'n1.json');
    writeFileSync(report, JSON.stringify(halted));
    const advanced = await command('policy', 'rollout', 'fleet/policy', '--advance', '--status', report);
    assert.equal(advanced.code, 1, advanced.output);
    assert.match(advanced.output, /n1: halted/u);
    assert.equal((await asked()).code, 1);

    stage.writePolicy(plainPolicy.replace('good.test/**', 'third.test/**'));
    await done('policy', 'publish', policy, 'fleet/policy', '--urgent');
    const urgent = await until(({ subscription }) => subscription?.release?.number === 3);
    const again = { name: 'again', image, reference, command: ['sleep', '600'] };
    const refused = await failureOf(createContainer(stage, pod, again));
    assert.match(refused.message, /good\.test\/app\/a:1/u);
    const shown = await command(
      ...['verdicts', 'ls', '--root', join(folder, 'root'), '--outcome', 'deny', '--output', 'json'],
    );
    assert.match(shown.stdout, new RegExp(urgent.revision ?? 'none', 'u'));
    await stage.daemon.logged(/"release":"stable\/3"/u);
  });

  it('keeps the release in force after kill -9, without the registry', async () => {
    const before = await status();
    await stage.restart({ kill: true });
    const { revision, subscription } = await status();
    assert.equal(revision, before.revision);
    assert.equal(subscription?.release?.number, 3);
    const text = await command('policy', 'status', '--admin-socket', join(folder, 'state/admin.sock'));
    assert.match(text.stdout, /^release +3, since /mu);
    const { info } = await stage.daemon.cri.runtime.status({ verbose: true });
    assert.match(info['policy'] ?? '', /"number":3/u);
    assert.ok(readFileSync(join(folder, 'root.json')).length > 0);
  });

  it('withdraws a release: no node keeps it', async () => {
    await done('policy', 'rollout', 'fleet/policy', '--withdraw', '3');
    const { subscription } = await until(({ subscription: one }) => one?.release?.number === 2);
    assert.notEqual(subscription, undefined);
  });
});

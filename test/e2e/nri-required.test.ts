import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Event } from '../../runtime/nri/protocol/contract.types.ts';
import { connectPlugin } from '../fixtures/nri-plugin.ts';
import type { TestPlugin, TestPluginOptions } from '../fixtures/nri-plugin.ts';
import { createContainer, removePod, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const policy = policyOf(
  `  - images: ["${registryName}/app/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: baseline }\n`,
);
const never = (): Promise<never> => new Promise(() => undefined);
/** Events of a plugin that adjusts and does not validate. */
const adjusts = 1 << (Event.CREATE_CONTAINER - 1);

describe('required NRI plugins', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-nri-required-'));
  const socket = join(folder, 'nri.sock');
  let stage: Stage;
  let image = '';
  let count = 0;
  const connected: TestPlugin[] = [];
  before(async () => {
    const config = join(folder, 'config.yaml');
    writeFileSync(
      config,
      `nri: { enabled: true, socket: ${socket}, pluginPath: ${folder}/plugins, pluginConfigPath: ${folder}/conf, requestTimeout: 700, registrationTimeout: 30000, required: [must] }\n`,
    );
    stage = await openStage({ policy, flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    for (const plugin of connected) plugin.close();
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const plugin = async (options: TestPluginOptions): Promise<TestPlugin> => {
    const made = await connectPlugin(socket, options);
    connected.push(made);
    await made.synchronized;
    return made;
  };
  const must = (options: TestPluginOptions = {}): Promise<TestPlugin> =>
    plugin({ name: 'must', events: adjusts, ...options });
  const gone = async (...plugins: TestPlugin[]): Promise<void> => {
    for (const one of plugins) {
      one.close();
      await one.closed;
    }
    await pause(50);
  };
  const ask = () => ({ name: `c${(count += 1)}`, image, command: ['sleep', '600'] });
  const containers = async (): Promise<number> =>
    (await stage.daemon.cri.runtime.listContainers({})).containers.length;

  for (const [what, create] of [
    ['does not answer', never],
    ['answers late', () => pause(1_000, {})],
  ] as const)
    it(`make the creation fail if one ${what}`, async () => {
      const pod = await runPod(stage, 'silent');
      const one = await must({ create });
      const failure = await failureOf(createContainer(stage, pod, ask()));
      assert.equal(failure.code, 'NRI_PLUGIN_LOST', failure.message);
      await one.closed;
      const again = await failureOf(createContainer(stage, pod, ask()));
      assert.equal(again.code, 'NRI_REQUIRED_PLUGIN_MISSING', again.message);
      assert.equal(await containers(), 0);
      await removePod(stage, pod);
    });

  it('leave nothing of a refused container whose monitor was prepared', async () => {
    const pod = await runPod(stage, 'prepared');
    const logs = join(stage.folders.root, 'monitor-logs');
    while (readdirSync(logs).length === 0) await pause(10);
    const id = readdirSync(logs)[0] ?? '';
    const failure = await failureOf(createContainer(stage, pod, ask()));
    assert.equal(failure.code, 'NRI_REQUIRED_PLUGIN_MISSING', failure.message);
    const left = [logs, ...['containers', 'a'].map((name) => join(stage.folders.state, name))]
      .flatMap((folder) => readdirSync(folder))
      .filter((name) => name.startsWith(id.slice(0, 16)));
    assert.deepEqual(left, []);
    await removePod(stage, pod);
  });

  it('make the creation fail if one closes its connection in the middle of its answer', async () => {
    const pod = await runPod(stage, 'closes');
    const one: TestPlugin = await must({ create: () => (one.socket.destroy(), never()) });
    const failure = await failureOf(createContainer(stage, pod, ask()));
    assert.equal(failure.code, 'NRI_PLUGIN_LOST', failure.message);
    assert.equal(await containers(), 0);
    await removePod(stage, pod);
    await gone(one);
  });

  it('make the creation fail if one is lost after its own answer', async () => {
    const pod = await runPod(stage, 'answered');
    const one = await must();
    const later = await plugin({
      name: 'later',
      index: '50',
      events: adjusts,
      create: async () => {
        await gone(one);
        return {};
      },
    });
    const failure = await failureOf(createContainer(stage, pod, ask()));
    assert.equal(failure.code, 'NRI_REQUIRED_PLUGIN_MISSING', failure.message);
    assert.equal(await containers(), 0);
    await removePod(stage, pod);
    await gone(later);
  });

  it('make the creation fail if one that validates is lost before its validation', async () => {
    const pod = await runPod(stage, 'validator');
    const one = await must();
    const events = 1 << (Event.VALIDATE_CONTAINER_ADJUSTMENT - 1);
    const validator = await plugin({ name: 'validates', index: '90', events });
    const later = await plugin({
      name: 'later',
      index: '50',
      events: adjusts,
      create: async () => {
        await gone(validator);
        return { adjust: { env: [{ key: 'A', value: '1' }] } };
      },
    });
    const failure = await failureOf(createContainer(stage, pod, ask()));
    assert.equal(failure.code, 'NRI_PLUGIN_LOST', failure.message);
    assert.match(failure.message, /90-validates/);
    assert.equal(await containers(), 0);
    await removePod(stage, pod);
    await gone(one, later);
  });

  it('make the creation fail if one that the pod requires does not answer', async () => {
    const pod = await runPod(stage, 'demands', {
      annotations: { 'required-plugins.noderesource.dev': '[demanded]' },
    });
    const one = await must();
    const demanded = await plugin({ name: 'demanded', index: '20', events: adjusts, create: never });
    const failure = await failureOf(createContainer(stage, pod, ask()));
    assert.equal(failure.code, 'NRI_PLUGIN_LOST', failure.message);
    assert.equal(await containers(), 0);
    await removePod(stage, pod);
    await gone(one, demanded);
  });

  it('do not make a creation wait for a plugin that connects during it', async () => {
    const pod = await runPod(stage, 'connects');
    let connecting: Promise<TestPlugin> | undefined;
    const one = await must({
      create: async () => {
        connecting = connectPlugin(socket, { name: 'late', index: '60' });
        connected.push(await connecting);
        await pause(100);
        return {};
      },
    });
    const started = performance.now();
    await createContainer(stage, pod, ask());
    const late = await connecting;
    const { containers: learned } = (await late?.synchronized) ?? { containers: [] };
    const took = performance.now() - started;
    assert.ok(took < 15_000, `${took} ms`);
    assert.equal(learned.length, 1, 'the plugin receives the new container');
    await removePod(stage, pod);
    await gone(one, ...(late === undefined ? [] : [late]));
  });

  it('leave no pod if the daemon is killed before they accept the pod', async () => {
    const asked = Promise.withResolvers<undefined>();
    const one = await plugin({
      name: 'must',
      called: (method) => {
        if (method !== 'runPodSandbox') return undefined;
        asked.resolve(undefined);
        return never();
      },
    });
    const run = runPod(stage, 'killed').catch(() => undefined);
    await asked.promise;
    await stage.restart({ kill: true });
    await run;
    await one.closed;
    const { items } = await stage.daemon.cri.runtime.listPodSandbox({});
    assert.deepEqual(
      items.map(({ metadata }) => metadata?.name),
      [],
    );
    await removePod(stage, await runPod(stage, 'killed'));
  });
});

describe('a node without NRI', () => {
  it('creates no container of a pod that requires a plugin', async () => {
    const stage = await openStage({ policy });
    try {
      const image = await stage.pull((await stage.publish('app/a:1')).reference);
      const key = 'required-plugins.noderesource.dev';
      const annotations = { [key]: '[must]', [`${key}/container.free`]: '[]' };
      const pod = await runPod(stage, 'demands', { annotations });
      const failure = await failureOf(createContainer(stage, pod, { image }));
      assert.equal(failure.code, 'NRI_REQUIRED_PLUGIN_MISSING');
      assert.match(failure.message, /must, and NRI is off/);
      await createContainer(stage, pod, { image, name: 'free' });
      await removePod(stage, pod);
    } finally {
      await stage.close();
    }
  });
});

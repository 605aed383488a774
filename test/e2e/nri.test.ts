import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Init } from '../../base/protobuf/index.ts';
import type {
  ContainerAdjustment,
  CreateContainerRequest,
  LinuxNamespace,
  PodSandbox,
} from '../../runtime/nri/protocol/contract.types.ts';
import { Event } from '../../runtime/nri/protocol/contract.types.ts';
import { connectPlugin } from '../fixtures/nri-plugin.ts';
import type { TestPlugin, TestPluginOptions } from '../fixtures/nri-plugin.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const rule = (name: string, ceiling: string): string =>
  `  - images: ["${registryName}/${name}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`;
const profile = `---\napiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: small }\nentitlements: [network.user, security.confined]\nresources: { nofile: 1024 }\n`;
/** Events of a plugin that adjusts and does not validate. */
const adjusts = 1 << (Event.CREATE_CONTAINER - 1);
const policy = `${policyOf(rule('high', 'privileged') + rule('low', 'baseline') + rule('small', 'small'))}${profile}`;

const networkOf = (linux?: { readonly namespaces: readonly LinuxNamespace[] }): string =>
  linux?.namespaces.find(({ type }) => type === 'network')?.path ?? '';

describe('NRI plugins', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-nri-'));
  const socket = join(folder, 'nri.sock');
  const config = join(folder, 'config.yaml');
  const hook = join(folder, 'hook');
  let stage: Stage;
  let [high, low, small] = ['', '', ''];
  let pod: Pod;
  const connected: TestPlugin[] = [];

  before(async () => {
    writeFileSync(hook, `#!/bin/sh\ncat > ${folder}/state\n`, { mode: 0o755 });
    writeFileSync(
      config,
      `nri: { enabled: true, socket: ${socket}, pluginPath: ${folder}/plugins, pluginConfigPath: ${folder}/conf, requestTimeout: 3000, registrationTimeout: 3000, allowHooks: [${hook}] }\n`,
    );
    mkdirSync(join(folder, 'plugins'), { mode: 0o755 });
    writeFileSync(join(folder, 'plugins/10-silent'), '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
    stage = await openStage({ policy, flags: ['--config', config] });
    high = await stage.pull((await stage.publish('high/a:1')).reference);
    low = await stage.pull((await stage.publish('low/a:1')).reference);
    small = await stage.pull((await stage.publish('small/a:1')).reference);
    pod = await runPod(stage, 'nri');
  });
  after(async () => {
    for (const plugin of connected) plugin.close();
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const plugin = async (options: TestPluginOptions): Promise<TestPlugin> => {
    for (const end = performance.now() + 60_000; ;)
      try {
        const made = await connectPlugin(socket, options);
        connected.push(made);
        await made.synchronized;
        return made;
      } catch (thrown) {
        // The daemon has not yet seen the end of the plugin before it.
        if (!/a plugin with this name is already connected/.test(String(thrown)) || performance.now() > end)
          throw thrown;
        await pause(20);
      }
  };
  const adjusting = (adjust: Init<ContainerAdjustment>, more: TestPluginOptions = {}): Promise<TestPlugin> =>
    plugin({ create: () => ({ adjust }), ...more });
  let count = 0;
  const ask = (image: string) => {
    count += 1;
    return { name: `c${count}`, image, command: ['sleep', '600'] };
  };
  const gone = async (...plugins: TestPlugin[]): Promise<void> => {
    for (const one of plugins) {
      one.close();
      await one.closed;
    }
    // The daemon sees the end of the connection.
    await pause(50);
  };
  const info = async (containerId: string): Promise<Record<string, unknown>> => {
    const { info: entries } = await stage.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
    return JSON.parse(entries['info'] ?? '{}') as Record<string, unknown>;
  };

  it('that are pre-installed and do not register delay the start by their timeout', async () => {
    await stage.daemon.logged(/10-silent.*did not register within 3000 ms/);
  });

  it('are configured, and receive the existing pods and containers', async () => {
    const id = await runContainer(stage, pod, ask(low));
    const one = await plugin({});
    const { pods, containers } = await one.synchronized;
    assert.deepEqual(
      pods.map(({ name, namespace }) => [name, namespace]),
      [['nri', 'shop']],
    );
    assert.deepEqual(
      containers.map((each) => each.id),
      [id],
    );
    assert.deepEqual(containers[0]?.args, ['sleep', '600']);
    await gone(one);
  });

  it('adjust a container within its ceiling, and the record of the container names them', async () => {
    let seen: CreateContainerRequest | undefined;
    const first = await adjusting(
      {
        env: [{ key: 'ADDED', value: 'by plugin' }],
        mounts: [{ destination: '/added', type: 'bind', source: folder, options: ['rbind', 'ro'] }],
        rlimits: [{ type: 'RLIMIT_NOFILE', soft: 333, hard: 444 }],
        annotations: { 'example.com/a': 'b' },
        linux: {
          devices: [{ path: '/dev/extra', type: 'c', major: 1, minor: 7 }],
          resources: { memory: { limit: { value: 128 * 2 ** 20 } } },
          oomScoreAdj: { value: 500 },
        },
      },
      { name: 'first', index: '05' },
    );
    const second = await plugin({
      name: 'second',
      index: '50',
      create: (request) => {
        seen = request;
        return {};
      },
    });
    const id = await runContainer(stage, pod, ask(high));
    assert.match((await execute(stage, id, 'env')).stdout, /^ADDED=by plugin$/m);
    assert.match((await execute(stage, id, 'ls', '/added')).stdout, /^config\.yaml$/m);
    assert.equal((await execute(stage, id, 'sh', '-c', 'ulimit -Sn; ulimit -Hn')).stdout, '333\n444\n');
    assert.equal((await execute(stage, id, 'stat', '-c', '%t:%T', '/dev/extra')).stdout, '1:7\n');
    assert.match((await execute(stage, id, 'sh', '-c', 'echo a > /dev/extra')).stderr, /No space left/);
    assert.equal((await execute(stage, id, 'cat', '/proc/1/oom_score_adj')).stdout, '500\n');
    const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.equal(status?.resources?.linux?.memoryLimitInBytes, 128 * 2 ** 20);
    assert.deepEqual(seen?.container?.annotations, { 'example.com/a': 'b' });
    assert.ok(seen.container.env.includes('ADDED=by plugin'), 'the next plugin sees the adjustment');
    const adjustments = (await info(id))['adjustments'] as { plugin: string; field: string; key: string }[];
    assert.deepEqual([...new Set(adjustments.map((each) => each.plugin))], ['05-first']);
    assert.deepEqual(adjustments.map(({ field }) => field).sort(), [
      'annotation',
      'device',
      'env',
      'memory.limit',
      'mount',
      'oom-score-adj',
      'rlimit',
    ]);
    assert.doesNotMatch(JSON.stringify(adjustments), /by plugin/, 'the value of a variable is not recorded');
    const { info: entries } = await stage.daemon.cri.runtime.containerStatus({
      containerId: id,
      verbose: true,
    });
    const verdict = JSON.parse(entries['verdict'] ?? '{}') as {
      id: string;
      outcome: string;
      adjustments: unknown;
    };
    assert.deepEqual([verdict.outcome, verdict.adjustments], ['admit', adjustments]);
    const database = new DatabaseSync(join(stage.folders.root, 'state.db'), { readOnly: true });
    const row = database.prepare(
      "SELECT id, entry FROM verdict_log WHERE kind = 'adjustment' ORDER BY seq DESC",
    );
    const logged = row.get() as { id: string; entry: string };
    database.close();
    const entry = JSON.parse(logged.entry) as { container: string; changes: string };
    assert.deepEqual([entry.container, JSON.parse(entry.changes)], [id, adjustments]);
    assert.equal(logged.id, verdict.id);
    await gone(first, second);
  });

  const adjustmentRows = (): unknown => {
    const database = new DatabaseSync(join(stage.folders.root, 'state.db'), { readOnly: true });
    try {
      return database.prepare("SELECT count(*) AS n FROM verdict_log WHERE kind = 'adjustment'").get()?.['n'];
    } finally {
      database.close();
    }
  };

  const beyond: Readonly<Record<string, readonly [() => string, Init<ContainerAdjustment>, string]>> = {
    'a device': [
      () => low,
      { linux: { devices: [{ path: '/dev/extra', type: 'c', major: 1, minor: 11 }] } },
      'RUNTIME_DEVICE_NOT_GRANTED',
    ],
    'a path of the host': [
      () => low,
      { mounts: [{ destination: '/etc/x', type: 'bind', source: '/etc', options: ['rbind', 'ro'] }] },
      'RUNTIME_HOST_PATH_NOT_GRANTED',
    ],
    'a hook that the ceiling does not allow': [
      () => low,
      { hooks: { createRuntime: [{ path: hook }] } },
      'RUNTIME_HOOK_NOT_GRANTED',
    ],
    'a hook that the configuration does not allow': [
      () => high,
      { hooks: { createRuntime: [{ path: '/bin/true' }] } },
      'NRI_NOT_ALLOWED',
    ],
    'a limit above that of the profile': [
      () => small,
      { rlimits: [{ type: 'RLIMIT_NOFILE', soft: 2048, hard: 2048 }] },
      'RUNTIME_OUTSIDE_PROFILE',
    ],
    'a limit that raises the priority': [
      () => low,
      { rlimits: [{ type: 'RLIMIT_RTPRIO', soft: 9, hard: 9 }] },
      'RUNTIME_OUTSIDE_PROFILE',
    ],
    'a CDI device': [
      () => low,
      { cdiDevices: [{ name: 'vendor.example/gpu=0' }] },
      'RUNTIME_CDI_DEVICE_NOT_FOUND',
    ],
    'a hook that would run programs of another folder': [
      () => high,
      { hooks: { createRuntime: [{ path: hook, args: ['hook'], env: [`PATH=${folder}/conf`] }] } },
      'NRI_NOT_ALLOWED',
    ],
    'a sysctl': [() => high, { linux: { sysctl: { 'kernel.msgmax': '1' } } }, 'NRI_UNSUPPORTED'],
    'a namespace': [
      () => high,
      { linux: { namespaces: [{ type: 'network', path: '/x' }] } },
      'NRI_UNSUPPORTED',
    ],
    'a cgroup': [() => high, { linux: { cgroupsPath: '/x' } }, 'NRI_UNSUPPORTED'],
    'a scheduler': [() => high, { linux: { scheduler: { policy: 2, priority: 1 } } }, 'NRI_UNSUPPORTED'],
    'a device without numbers': [
      () => high,
      { linux: { devices: [{ path: '/dev/kmsg', type: 'c', major: 0, minor: 0 }] } },
      'NRI_BAD_ADJUSTMENT',
    ],
    'no program': [() => high, { args: [''] }, 'NRI_BAD_ADJUSTMENT'],
  };
  for (const [what, [image, adjust, code]] of Object.entries(beyond))
    it(`cannot exceed the ceiling, and the error names them: ${what}`, async () => {
      const one = await adjusting(adjust);
      const before = adjustmentRows();
      const failure = await failureOf(createContainer(stage, pod, ask(image())));
      assert.equal(failure.code, code, failure.message);
      assert.equal(adjustmentRows(), before, 'a refused adjustment is not in the log');
      assert.match(failure.message, /10-double/);
      await gone(one);
      await runContainer(stage, pod, ask(image()));
    });

  it('add a hook that the configuration and the ceiling allow', async () => {
    const one = await adjusting({ hooks: { createRuntime: [{ path: hook, args: ['hook'] }] } });
    const id = await runContainer(stage, pod, ask(high));
    assert.match(readFileSync(join(folder, 'state'), 'utf8'), new RegExp(id));
    await gone(one);
  });

  it('that contradict each other are both named in the error', async () => {
    const env = [{ key: 'SAME', value: '1' }];
    const [one, other] = [
      await adjusting({ env }, { name: 'a' }),
      await adjusting({ env }, { name: 'b', index: '11' }),
    ];
    const failure = await failureOf(createContainer(stage, pod, ask(low)));
    assert.equal(failure.code, 'NRI_CONFLICT');
    assert.match(failure.message, /10-a.*11-b/);
    await gone(one, other);
  });

  it('that do not answer delay one request by their timeout', async () => {
    let asked = 0;
    const slow = await plugin({
      events: adjusts,
      create: () => {
        asked += 1;
        return new Promise(() => undefined);
      },
    });
    const started = performance.now();
    await runContainer(stage, pod, ask(low));
    const took = performance.now() - started;
    assert.ok(took > 2990, `${took} ms`);
    // It is disconnected, and gets no further requests.
    await slow.closed;
    await runContainer(stage, pod, ask(low));
    assert.equal(asked, 1);
  });

  it('may end in the middle of an answer', async () => {
    const dying: TestPlugin = await plugin({
      events: adjusts,
      create: () => {
        dying.socket.write(Buffer.from([0, 0, 0, 1, 0, 0, 1, 0, 1, 2]));
        dying.socket.destroy();
        return new Promise(() => undefined);
      },
    });
    await runContainer(stage, pod, ask(low));
    await dying.closed;
  });

  it('are disconnected after the header of a giant frame, on each logical connection', async () => {
    for (const header of [
      [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
      [0, 0, 0, 2, 0x10, 0, 0, 0],
    ]) {
      const one = await plugin({});
      one.socket.write(Buffer.from(header));
      await one.closed;
    }
    await runContainer(stage, pod, ask(low));
  });

  it('cannot update a container that does not exist, and their other updates are recorded', async () => {
    const other = await runPod(stage, 'nri-other');
    const id = await runContainer(stage, other, { image: low, command: ['sleep', '600'] });
    const one = await plugin({});
    const resources = { cpu: { shares: { value: 512 } } };
    const update = (containerId: string) => ({ containerId, linux: { resources } });
    const failed = await one.update([update('f'.repeat(64)), update(id.slice(0, 12)), update(id)]);
    assert.deepEqual(
      failed.map(({ containerId }) => containerId),
      ['f'.repeat(64), id.slice(0, 12)],
    );
    const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.equal(status?.resources?.linux?.cpuShares, 512);
    assert.deepEqual((await info(id))['adjustments'], [
      { plugin: '10-double', field: 'cpu.shares', key: '', action: 'set', value: '512' },
    ]);
    await gone(one);
    const lying = await plugin({
      create: () => ({ update: [update('f'.repeat(64))] }),
    });
    const failure = await failureOf(createContainer(stage, pod, ask(low)));
    assert.match(failure.message, /10-double.*this container does not exist/);
    await gone(lying);
    await removePod(stage, other);
  });

  it('change the update of a container, and receive the events of its life cycle', async () => {
    const calls: string[] = [];
    const one = await plugin({ called: (method) => calls.push(method) });
    const other = await runPod(stage, 'nri-life');
    const id = await runContainer(stage, other, { image: low, command: ['sleep', '600'] });
    await stage.daemon.cri.runtime.updateContainerResources({ containerId: id, linux: { cpuShares: 700 } });
    await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 0 });
    await removePod(stage, other);
    const until = performance.now() + 60_000;
    while (!calls.includes('removePodSandbox') && performance.now() < until) await pause(20);
    assert.deepEqual(calls, [
      'runPodSandbox',
      'postCreateContainer',
      'startContainer',
      'postStartContainer',
      'updateContainer',
      'postUpdateContainer',
      'stopContainer',
      'stopPodSandbox',
      'removeContainer',
      'removePodSandbox',
    ]);
    await gone(one);
  });

  it('may validate the adjustments of other plugins', async () => {
    const one = await adjusting({ env: [{ key: 'A', value: '1' }] }, { name: 'adjusts' });
    const other = await plugin({
      name: 'validates',
      index: '90',
      validate: ({ adjust, owners, plugins, container }) => ({
        reject: true,
        reason: `${adjust?.env[0]?.key} of ${owners?.owners[container?.id ?? '']?.compound[0]?.value?.owners['A']}, ${plugins.length} plugins`,
      }),
    });
    const failure = await failureOf(createContainer(stage, pod, ask(low)));
    assert.equal(failure.code, 'NRI_NOT_ALLOWED');
    assert.match(failure.message, /90-validates.*A of 10-adjusts, 2 plugins/);
    await gone(one, other);
  });

  it('that a pod requires must be connected', async () => {
    const demanding = await runPod(stage, 'nri-demands', {
      annotations: { 'required-plugins.noderesource.dev': '[double]' },
    });
    const failure = await failureOf(createContainer(stage, demanding, ask(low)));
    assert.equal(failure.code, 'NRI_REQUIRED_PLUGIN_MISSING');
    const one = await plugin({});
    await createContainer(stage, demanding, ask(low));
    await gone(one);
    await removePod(stage, demanding);
  });

  it('have the network of a pod until they have answered its stop, and once', async () => {
    const seen: string[] = [];
    const called = (method: string, request: unknown): void => {
      const { pod: stopped } = request as { readonly pod?: PodSandbox };
      if (stopped?.name !== 'nri-ends' || !/^(?:stop|remove)Pod/.test(method)) return;
      const path = networkOf(stopped.linux);
      const devices =
        path === ''
          ? 'none'
          : execFileSync('nsenter', [`--net=${path}`, 'cat', '/proc/net/dev'], { encoding: 'utf8' });
      seen.push(`${method}: ${/eth0|none/.exec(devices)?.[0]}, ${stopped.ips.length} address`);
    };
    const one = await plugin({ called });
    await removePod(stage, await runPod(stage, 'nri-ends'));
    await gone(one);
    assert.deepEqual(seen, ['stopPodSandbox: eth0, 1 address', 'removePodSandbox: none, 1 address']);
  });

  it('have the network of a pod that another plugin refuses until they have answered its stop', async () => {
    const seen: string[] = [];
    const one = await plugin({
      called: async (method, request) => {
        const { pod: refused } = request as { readonly pod?: PodSandbox };
        if (method !== 'stopPodSandbox' || refused?.name !== 'nri-refused') return;
        await pause(200);
        seen.push(statSync(networkOf(refused.linux), { throwIfNoEntry: false }) ? 'exists' : 'is gone');
      },
    });
    const other = await plugin({
      ...{ name: 'refuses', index: '90' },
      called: (method) => (method === 'runPodSandbox' ? Promise.reject(new Error('not here')) : undefined),
    });
    await assert.rejects(runPod(stage, 'nri-refused'), /90-refuses: it refused/);
    for (const each of [one, other]) await gone(each);
    assert.deepEqual(seen, ['exists']);
  });

  it('that do not answer a stop delay it by their time, and do not prevent it', async () => {
    const one = await plugin({
      called: (method) => (method === 'stopPodSandbox' ? new Promise(() => undefined) : undefined),
    });
    await removePod(stage, await runPod(stage, 'nri-hangs'));
    await gone(one);
  });

  it('see the network namespace of a pod, and that its containers are in it', async () => {
    const id = await runContainer(stage, pod, ask(low));
    const one = await plugin({});
    const { pods, containers } = await one.synchronized;
    const container = containers.find((each) => each.id === id);
    const path = networkOf(pods.find((each) => each.id === pod.id)?.linux);
    assert.equal(statSync(path).ino, statSync(`/proc/${container?.pid}/ns/net`).ino);
    assert.equal(networkOf(container?.linux), path);
    await gone(one);
  });

  it('with a name in use or an invalid name are refused', async () => {
    const one = await plugin({});
    await assert.rejects(connectPlugin(socket), /a plugin with this name is already connected/);
    await assert.rejects(connectPlugin(socket, { index: '1' }), /two digits/);
    await assert.rejects(connectPlugin(socket, { name: '../x' }), /letters, digits/);
    await gone(one);
  });

  it('reconnect after the daemon was killed, and their adjustments persist', async () => {
    const one = await adjusting({ env: [{ key: 'LASTS', value: '1' }] });
    const id = await runContainer(stage, pod, ask(low));
    await stage.restart({ kill: true });
    await one.closed;
    assert.equal(((await info(id))['adjustments'] as unknown[]).length, 1);
    const again = await plugin({});
    const { containers } = await again.synchronized;
    assert.ok(containers.find((each) => each.id === id)?.env.includes('LASTS=1'));
    await gone(again);
  });
});

import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  createContainer,
  containerConfig,
  expectServing,
  podConfig,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import type { ContainerConfig, PodConfig } from '../fixtures/pod.ts';
import { conflist, failureOf, openStage, podNamespace } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

describe('requests that are refused', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());
  const { run, create } = {
    run: (config: PodConfig, runtimeHandler = '') =>
      stage.daemon.cri.runtime.runPodSandbox({ config, runtimeHandler }),
    create: (podSandboxId: string, config: ContainerConfig) =>
      stage.daemon.cri.runtime.createContainer({ podSandboxId, config }),
  };

  it('an unknown runtime handler', async () => {
    const failure = await failureOf(run(podConfig(stage, 'handler'), 'kata'));
    assert.equal(failure.code, 'RUNTIME_UNKNOWN_HANDLER');
    assert.match(failure.message, /kata/);
    assert.match(failure.message, /crun/, 'the error lists the existing handlers');
    assert.match(failure.message, /doctor/, 'a configured handler may be unusable');
    assert.deepEqual((await stage.daemon.cri.runtime.listPodSandbox({})).items, []);
  });

  it('a pod whose name is in use', async () => {
    const config = podConfig(stage, 'taken');
    const { podSandboxId } = await run(config);
    assert.equal((await run(config)).podSandboxId, podSandboxId, 'the same request returns the same pod');
    const other = await failureOf(run({ ...config, labels: { other: 'yes' } }));
    assert.equal(other.code, 'RUNTIME_SANDBOX_NAME_TAKEN');
    assert.equal(other.kind, 'already-exists');
    assert.match(other.message, new RegExp(podSandboxId.slice(0, 13)));
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId });
    assert.equal(
      (await failureOf(run(config))).code,
      'RUNTIME_SANDBOX_NAME_TAKEN',
      'a stopped pod keeps its name',
    );
    await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId });
    const again = await run(config);
    assert.notEqual(again.podSandboxId, podSandboxId);
    await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: again.podSandboxId });
  });

  it('twenty identical concurrent requests create one pod', async () => {
    const config = podConfig(stage, 'herd');
    const answers = await Promise.all(Array.from({ length: 20 }, () => run(config)));
    assert.equal(new Set(answers.map(({ podSandboxId }) => podSandboxId)).size, 1);
    await removePod(stage, { id: answers[0]?.podSandboxId ?? '', config });
  });

  it('a container whose name is in use', async () => {
    const pod = await runPod(stage, 'container-name');
    const first = await createContainer(stage, pod, { image });
    assert.equal(
      await createContainer(stage, pod, { image }),
      first,
      'the same request returns the same container',
    );
    const failure = await failureOf(createContainer(stage, pod, { image, command: ['true'] }));
    assert.equal(failure.code, 'RUNTIME_CONTAINER_NAME_TAKEN');
    assert.equal(failure.kind, 'already-exists');
    await removePod(stage, pod);
  });

  const badPods: { what: string; config: (config: PodConfig) => PodConfig; code: string }[] = [
    {
      what: 'without metadata',
      config: ({ metadata: _metadata, ...rest }) => rest,
      code: 'RUNTIME_BAD_SANDBOX',
    },
    {
      what: 'without a name',
      config: (config) => ({ ...config, metadata: { ...config.metadata, name: '' } }),
      code: 'RUNTIME_BAD_SANDBOX',
    },
    {
      what: 'with a slash in its uid',
      config: (config) => ({ ...config, metadata: { ...config.metadata, uid: '../u' } }),
      code: 'RUNTIME_BAD_SANDBOX',
    },
    {
      what: 'with a relative log folder',
      config: (config) => ({ ...config, logDirectory: 'logs' }),
      code: 'RUNTIME_BAD_SANDBOX',
    },
    {
      what: 'with a sysctl of the host',
      config: (config) => ({
        ...config,
        linux: { ...config.linux, sysctls: { 'kernel.core_pattern': '|/bin/sh' } },
      }),
      code: 'RUNTIME_BAD_SYSCTL',
    },
    {
      what: 'with a second sysctl in the value of the first',
      config: (config) => ({
        ...config,
        linux: { ...config.linux, sysctls: { 'kernel.shm_rmid_forced': '1+kernel.core_pattern=|/bin/sh' } },
      }),
      code: 'RUNTIME_BAD_SYSCTL',
    },
    {
      what: 'with an invalid host port',
      config: (config) => ({
        ...config,
        portMappings: [{ protocol: 0, containerPort: 80, hostPort: 70_000, hostIp: '' }],
      }),
      code: 'RUNTIME_BAD_PORT',
    },
    {
      what: 'with .. in its cgroup parent',
      config: (config) => ({ ...config, linux: { ...config.linux, cgroupParent: '/a/../../b' } }),
      code: 'RUNTIME_BAD_SANDBOX',
    },
  ];
  for (const { what, config, code } of badPods) {
    it(`a pod ${what}`, async () => {
      const failure = await failureOf(run(config(podConfig(stage, 'bad'))));
      assert.equal(failure.kind, 'invalid', failure.message);
      assert.equal(failure.code, code, failure.message);
      assert.deepEqual((await stage.daemon.cri.runtime.listPodSandbox({})).items, []);
    });
  }

  const badContainers: { what: string; ask: (config: ContainerConfig) => ContainerConfig; code: string }[] = [
    {
      what: 'without metadata',
      ask: ({ metadata: _metadata, ...rest }) => rest,
      code: 'RUNTIME_BAD_CONTAINER',
    },
    {
      what: 'of an image that was not pulled',
      ask: (config) => ({ ...config, image: { image: 'good.test/none:1' } }),
      code: 'RUNTIME_IMAGE_NOT_FOUND',
    },
    { what: 'without an image', ask: ({ image: _image, ...rest }) => rest, code: 'RUNTIME_IMAGE_NOT_FOUND' },
    {
      what: 'with .. in its log path',
      ask: (config) => ({ ...config, logPath: '../../../etc/x' }),
      code: 'RUNTIME_BAD_LOG_PATH',
    },
    {
      what: 'with an absolute log path',
      ask: (config) => ({ ...config, logPath: '/etc/x' }),
      code: 'RUNTIME_BAD_LOG_PATH',
    },
    {
      what: 'with a working directory below /proc',
      ask: (config) => ({ ...config, workingDir: '/proc/self/fd/7' }),
      code: 'RUNTIME_BAD_WORKING_DIR',
    },
    {
      what: 'with a working directory that leads into /proc by ..',
      ask: (config) => ({ ...config, workingDir: '/tmp/../../proc/self/fd/7' }),
      code: 'RUNTIME_BAD_WORKING_DIR',
    },
    {
      what: 'with a second variable in the name of the first',
      ask: (config) => ({ ...config, envs: [{ key: 'A=1\nB', value: Buffer.from('x') }] }),
      code: 'RUNTIME_BAD_ENVIRONMENT',
    },
    {
      what: 'of a user with a line feed',
      ask: (config) => ({ ...config, linux: { securityContext: { runAsUsername: 'root\nx:0:0' } } }),
      code: 'RUNTIME_BAD_USER',
    },
    {
      what: 'of a user beyond 31 bits',
      ask: (config) => ({ ...config, linux: { securityContext: { runAsUser: { value: 4_294_967_296 } } } }),
      code: 'RUNTIME_BAD_USER',
    },
    {
      what: 'with a user namespace without a range of ids',
      ask: (config) => ({
        ...config,
        linux: { securityContext: { namespaceOptions: { pid: 1, usernsOptions: { mode: 0 } } } },
      }),
      code: 'RUNTIME_BAD_USER_NAMESPACE',
    },
    {
      what: 'with a program that is not in the image',
      ask: (config) => ({ ...config, command: ['/no/such/program'] }),
      code: '',
    },
  ];
  for (const { what, ask, code } of badContainers) {
    it(`a container ${what}`, async () => {
      const pod = await runPod(stage, `c-${randomUUID().slice(0, 8)}`);
      const attempt = async (): Promise<void> => {
        const { containerId } = await create(pod.id, ask(containerConfig({ image })));
        await stage.daemon.cri.runtime.startContainer({ containerId });
      };
      const failure = await failureOf(attempt());
      if (code === '') assert.match(failure.message, /\/no\/such\/program/);
      else assert.equal(failure.code, code, failure.message);
      // A monitor starts concurrently with the preparation and opens the log. A refusal removes both.
      if (code !== '')
        assert.equal(
          existsSync(join(stage.logs, pod.config.metadata?.name ?? '', 'main')),
          false,
          'a log is left',
        );
      if (code !== '') assert.deepEqual(monitorsOf(stage), []);
      await removePod(stage, pod);
    });
  }

  it('a container in a pod that does not exist, or that is stopped', async () => {
    assert.equal(
      (await failureOf(create('0'.repeat(64), containerConfig({ image })))).code,
      'RUNTIME_SANDBOX_NOT_FOUND',
    );
    const pod = await runPod(stage, 'stopped');
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: pod.id });
    const failure = await failureOf(createContainer(stage, pod, { image }));
    assert.equal(failure.code, 'RUNTIME_SANDBOX_NOT_READY');
    assert.equal(failure.kind, 'precondition');
    await removePod(stage, pod);
  });

  it('a checkpoint, which this version does not support', async () => {
    const pod = await runPod(stage, 'checkpoint');
    const failure = await failureOf(stage.daemon.cri.runtime.checkpointPod({ podSandboxId: pod.id }));
    assert.equal(failure.kind, 'unimplemented');
    await removePod(stage, pod);
  });

  describe('a network configuration with a syntax error', () => {
    after(() => stage.writeConflist(conflist));

    it('is reported by Status with file, line and column, and by RunPodSandbox; the repaired file works at once', async () => {
      const running = await runPod(stage, 'before');
      stage.writeConflist(`{\n  "cniVersion": "1.0.0",\n  "name": "e2e"\n  "plugins": []\n}\n`);
      const { status } = await stage.daemon.cri.runtime.status({});
      const condition = status?.conditions.find(({ type }) => type === 'NetworkReady');
      assert.equal(condition?.status, false);
      assert.match(condition?.message ?? '', /10-e2e\.conflist:4:\d+/);
      assert.match(condition?.reason ?? '', /^[A-Z][A-Za-z]+$/);
      const failure = await failureOf(run(podConfig(stage, 'refused')));
      assert.equal(failure.code, 'NETWORK_CONFLIST_INVALID');
      assert.match(failure.message, /10-e2e\.conflist:4:\d+/);
      const { items } = await stage.daemon.cri.runtime.listPodSandbox({});
      assert.deepEqual(
        items.map(({ id }) => id),
        [running.id],
        'no incomplete pod is listed',
      );
      // An existing pod is not affected, and can be removed.
      await runContainer(stage, running, { image });
      await removePod(stage, running);
      stage.writeConflist(conflist);
      const repaired = (await stage.daemon.cri.runtime.status({})).status?.conditions.find(
        ({ type }) => type === 'NetworkReady',
      );
      assert.equal(repaired?.status, true);
      await expectServing(stage, image);
    });

    it('a host-network pod needs no network configuration', async () => {
      stage.writeConflist('{');
      const namespaceOptions = { network: 2, pid: 1, ipc: 0 } as const;
      const config = podConfig(stage, 'host', { linux: { securityContext: { namespaceOptions } } });
      const { podSandboxId } = await run(config);
      await removePod(stage, { id: podSandboxId, config });
      stage.writeConflist(conflist);
    });
  });

  it('and the daemon still serves', async () => {
    assert.equal(podNamespace, 'shop');
    await expectServing(stage, image);
    assert.doesNotMatch(stage.daemon.log(), /uncaught|unhandled/i);
  });
});

/**
 * Returns the command lines of the conmon processes of the stage's daemon, without one that waits for the
 * next container.
 */
function monitorsOf(stage: Stage): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .filter((line) => line.startsWith('conmon ') && line.includes(stage.folders.state))
    .filter((line) => !line.includes(join(stage.folders.root, 'monitor-logs')));
}

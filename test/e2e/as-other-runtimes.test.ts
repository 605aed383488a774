import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ContainerState } from '../../runtime/client.ts';
import { layerOf } from '../fixtures/image.ts';
import {
  createContainer,
  execute,
  exitOf,
  podConfig,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const policy = policyOf(
  ['baseline', 'privileged']
    .map(
      (ceiling) =>
        `  - images: ["${registryName}/${ceiling}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`,
    )
    .join(''),
);

/** Requests that a kubelet sends to any runtime, with the answers of containerd: docs/decisions/0072. */
describe('requests that other runtimes accept', () => {
  let stage: Stage;
  const image: Record<string, string> = {};
  before(async () => {
    stage = await openStage({ policy });
    const layer = await layerOf([
      { name: 'toproc', type: 'symlink', linkname: 'proc/self/fd' },
      { name: 'tosrv', type: 'symlink', linkname: 'srv/real' },
      { name: 'srv/real/inside', type: 'directory' },
      { name: 'etc/not-a-program', body: 'text', mode: 0o644 },
    ]);
    for (const ceiling of ['baseline', 'privileged'])
      image[ceiling] = await stage.pull(
        (await stage.publish(`${ceiling}/a:1`, { layers: [layer] })).reference,
      );
  });
  after(() => stage.close());
  const sleeping = ['sleep', '600'];
  const statusOf = async (containerId: string) =>
    (await stage.daemon.cri.runtime.containerStatus({ containerId })).status;
  const start = (containerId: string) => stage.daemon.cri.runtime.startContainer({ containerId });

  describe('paths that contain ..', () => {
    let pod: Pod;
    let volume = '';
    before(async () => {
      pod = await runPod(stage, 'climbing');
      volume = join(stage.folders.folder, 'volume');
      mkdirSync(join(volume, 'inside'), { recursive: true });
      writeFileSync(join(volume, 'file'), 'of the volume');
      symlinkSync('/proc/self/fd', join(volume, 'fd'));
    });
    after(() => removePod(stage, pod));
    let serial = 0;
    const ask = (more: object, ceiling = 'privileged') => ({
      name: `c${(serial += 1)}`,
      image: image[ceiling] ?? '',
      command: sleeping,
      more,
    });
    const at = (containerPath: string) => ({ mounts: [{ hostPath: volume, containerPath }] });

    it('a working directory is normalized inside the container', async () => {
      for (const [workingDir, cwd] of [
        ['/tmp/../etc', '/etc'],
        ['/../../../etc', '/etc'],
        ['/tmp/../../..', '/'],
        ['/tosrv/../etc/./', '/etc'],
        ['/etc/../tosrv/inside', '/srv/real/inside'],
      ] as const) {
        const id = await runContainer(stage, pod, ask({ workingDir }));
        // The kernel hides the folder of a process that has not executed its program yet.
        const folders = 'until readlink /proc/1/cwd; do :; done; readlink /proc/self/cwd';
        assert.equal((await execute(stage, id, 'sh', '-c', folders)).stdout, `${cwd}\n${cwd}\n`, workingDir);
      }
    });

    it('a working directory that is normalized to a path in /proc is refused', async () => {
      for (const workingDir of [
        '/tmp/../proc/self/fd/7',
        '/../proc',
        '/tmp/../toproc/7',
        '/toproc/../toproc',
        '/data/inside/../fd/7',
      ])
        assert.equal(
          (await failureOf(createContainer(stage, pod, ask({ workingDir, ...at('/data') })))).code,
          'RUNTIME_BAD_WORKING_DIR',
          workingDir,
        );
      // The path is checked again before each command, because the volume can change.
      const id = await runContainer(stage, pod, ask({ workingDir: '/tmp/../data/inside', ...at('/data') }));
      assert.equal((await execute(stage, id, 'pwd')).stdout, '/data/inside\n');
      renameSync(join(volume, 'inside'), join(volume, 'away'));
      symlinkSync('fd', join(volume, 'inside'));
      assert.equal((await failureOf(execute(stage, id, 'true'))).code, 'RUNTIME_BAD_WORKING_DIR');
    });

    it('the destination of a mount is normalized inside the container', async () => {
      for (const containerPath of ['/tmp/../m', '/../../m', '/tosrv/../m/.', '/m/x/..']) {
        const id = await runContainer(stage, pod, ask(at(containerPath)));
        assert.equal((await execute(stage, id, 'cat', '/m/file')).stdout, 'of the volume', containerPath);
        const mounts = (await statusOf(id))?.mounts.map((mount) => mount.containerPath);
        assert.deepEqual(mounts, [containerPath], 'as it was requested, because a kubelet compares it');
      }
    });

    it('a forbidden destination of a mount is refused in every spelling', async () => {
      const code = async (containerPath: string, ceiling: string): Promise<string> =>
        (await failureOf(createContainer(stage, pod, ask(at(containerPath), ceiling)))).code;
      for (const containerPath of [
        '/tmp/..',
        '/..',
        '/tmp/../.portcullis-launcher',
        '/a/../../.portcullis-launcher/x',
      ])
        assert.equal(await code(containerPath, 'privileged'), 'RUNTIME_BAD_MOUNT', containerPath);
      assert.equal(await code('../m', 'privileged'), 'RUNTIME_BAD_MOUNT', 'a relative path');
    });
  });

  describe('a command that cannot be run', () => {
    for (const [what, command, says] of [
      ['a program that does not exist', ['/no/such/program'], /\/no\/such\/program/],
      ['a program that is not in PATH', ['no-such-program'], /no-such-program/],
      ['a name that a terminal would act on', ['/no/\u001b[31mred\r'], /red/],
      ['a file that is not a program', ['/etc/not-a-program'], /not-a-program/],
    ] as const)
      for (const handler of ['crun', 'runc'])
        it(`ends its container with 128 StartError: ${what} (${handler})`, async () => {
          const pod = await runPod(stage, `mistyped-${handler}`, {}, handler);
          const id = await createContainer(stage, pod, { image: image['privileged'] ?? '', command });
          assert.equal((await statusOf(id))?.state, ContainerState.CONTAINER_CREATED);
          assert.equal(
            await createContainer(stage, pod, { image: image['privileged'] ?? '', command }),
            id,
            'the same request',
          );
          const failure = await failureOf(start(id));
          assert.deepEqual([failure.code, failure.kind], ['RUNTIME_START_FAILED', 'precondition']);
          assert.match(failure.message, says);
          const status = await exitOf(stage, id);
          assert.deepEqual([status.exitCode, status.reason, status.startedAt], [128, 'StartError', 0n]);
          assert.match(status.message, says);
          assert.doesNotMatch(status.message, /\p{Cc}/u);
          assert.ok(BigInt(status.finishedAt) > 0n);
          assert.equal((await failureOf(start(id))).code, 'RUNTIME_CONTAINER_WRONG_STATE');
          await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 10 });
          await stage.daemon.cri.runtime.removeContainer({ containerId: id });
          await removePod(stage, pod);
        });

    it('ends its container with 128 StartError: a relative working directory', async () => {
      const pod = await runPod(stage, 'relative');
      const id = await createContainer(stage, pod, {
        image: image['privileged'] ?? '',
        command: sleeping,
        more: { workingDir: '../tmp' },
      });
      assert.equal((await statusOf(id))?.state, ContainerState.CONTAINER_CREATED);
      const failure = await failureOf(start(id));
      assert.deepEqual([failure.code, failure.kind], ['RUNTIME_START_FAILED', 'precondition']);
      assert.match(failure.message, /"\.\.\/tmp" is not an absolute path/);
      const status = await exitOf(stage, id);
      assert.deepEqual([status.exitCode, status.reason, status.startedAt], [128, 'StartError', 0n]);
      await stage.daemon.cri.runtime.removeContainer({ containerId: id });
      await removePod(stage, pod);
    });

    it('survives a restart of the daemon, stops and is removed, and leaves no process, mount or file', async () => {
      const pod = await runPod(stage, 'kept');
      const ask = (name: string) =>
        createContainer(stage, pod, {
          name,
          image: image['privileged'] ?? '',
          command: ['/no/such/program'],
        });
      const [first, second, third] = [await ask('a'), await ask('b'), await ask('c')];
      for (const kill of [false, true]) await stage.restart({ kill });
      assert.equal((await statusOf(first))?.state, ContainerState.CONTAINER_CREATED);
      assert.equal((await failureOf(start(first))).code, 'RUNTIME_START_FAILED');
      const before = Date.now();
      await stage.daemon.cri.runtime.stopContainer({ containerId: second, timeout: 600 });
      assert.ok(Date.now() - before < 30_000, 'the stop does not wait');
      assert.deepEqual(
        [(await exitOf(stage, second)).exitCode, (await exitOf(stage, second)).reason],
        [128, 'StartError'],
      );
      await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: pod.id });
      assert.equal((await exitOf(stage, third)).exitCode, 128);
      const left = [stage.folders.state, stage.folders.root].map((folder) =>
        readFileSync('/proc/self/mountinfo', 'utf8').includes(`${folder}/containers/${first}`),
      );
      assert.deepEqual(left, [false, false]);
      await removePod(stage, pod);
    });
  });

  it('a stop ends a container that was never started with 137, and the container cannot be started afterwards', async () => {
    const pod = await runPod(stage, 'never-started');
    const id = await createContainer(stage, pod, { image: image['privileged'] ?? '', command: sleeping });
    await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 600 });
    const status = await exitOf(stage, id);
    assert.deepEqual([status.exitCode, status.startedAt], [137, 0n]);
    assert.equal((await failureOf(start(id))).code, 'RUNTIME_CONTAINER_WRONG_STATE');
    await removePod(stage, pod);
  });

  it('unknown capabilities are refused in add and in drop', async () => {
    const pod = await runPod(stage, 'capabilities');
    for (const capabilities of [{ addCapabilities: ['NET_ADMN'] }, { dropCapabilities: ['NET_RAWW'] }]) {
      const failure = await failureOf(
        createContainer(stage, pod, { image: image['privileged'] ?? '', security: { capabilities } }),
      );
      assert.match(failure.message, /NET_ADMN|NET_RAWW/);
    }
    await removePod(stage, pod);
  });

  it('an empty DNS configuration gives an empty resolv.conf, and a missing one the resolv.conf of the host', async () => {
    for (const [dnsConfig, text] of [
      [{ servers: [], searches: [], options: [] }, ''],
      [undefined, readFileSync('/etc/resolv.conf', 'utf8')],
      [{ servers: ['192.0.2.1'], searches: [], options: [] }, 'nameserver 192.0.2.1\n'],
    ] as const) {
      const config = podConfig(stage, 'dns', dnsConfig === undefined ? {} : { dnsConfig });
      const { podSandboxId } = await stage.daemon.cri.runtime.runPodSandbox({ config });
      const pod = { id: podSandboxId, config };
      const id = await runContainer(stage, pod, { image: image['privileged'] ?? '', command: sleeping });
      assert.equal((await execute(stage, id, 'cat', '/etc/resolv.conf')).stdout, text);
      await removePod(stage, pod);
    }
  });

  it('the log is readable by its group, before and after it is reopened, whatever the umask', async () => {
    const pod = await runPod(stage, 'log-mode');
    const id = await runContainer(stage, pod, {
      image: image['privileged'] ?? '',
      command: ['sh', '-c', 'echo first; exec sleep 600'],
    });
    const log = join(pod.config.logDirectory ?? '', 'main/0.log');
    const mode = (): string => (statSync(log).mode & 0o777).toString(8);
    assert.equal(mode(), '640');
    renameSync(log, `${log}.1`);
    await stage.daemon.cri.runtime.reopenContainerLog({ containerId: id });
    assert.equal(mode(), '640');
    await removePod(stage, pod);
  });

  it('a line longer than the monitor’s buffer of 8 KiB is written in marked parts without loss', async () => {
    const pod = await runPod(stage, 'long-line');
    const length = 40_000;
    const id = await runContainer(stage, pod, {
      image: image['privileged'] ?? '',
      command: ['sh', '-c', `head -c ${length} /dev/zero | tr '\\0' x; echo; echo end`],
    });
    await exitOf(stage, id);
    const lines = readFileSync(join(pod.config.logDirectory ?? '', 'main/0.log'), 'utf8')
      .split('\n')
      .slice(0, -1);
    const parts = lines.map(
      (line) => /^\S+ stdout ([FP]) (.*)$/.exec(line) ?? assert.fail(line.slice(0, 100)),
    );
    assert.equal(
      parts.map(([, mark, text]) => `${text}${mark === 'F' ? '\n' : ''}`).join(''),
      `${'x'.repeat(length)}\nend\n`,
    );
    assert.ok(parts.filter(([, mark]) => mark === 'P').length >= 4);
    await removePod(stage, pod);
  });
});

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ContainerState } from '../../runtime/client.ts';
import { buildImage, pushImage, uniqueLayer } from '../fixtures/image.ts';
import { containerConfig, exitOf, namespaceOptions, podConfig } from '../fixtures/pod.ts';
import { podNamespace, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

/** Counts of the lanes' work. */
export interface Work {
  pods: number;
  execs: number;
  sessions: number;
  pulls: number;
  /** Requests that failed and succeeded when repeated. */
  repeated: number;
  /** Whether the default handler gives pods a user namespace. */
  readonly mapped: boolean;
}

export async function newWork(stage: Stage): Promise<Work> {
  const { runtimeHandlers } = await stage.daemon.cri.runtime.status({});
  const mapped = runtimeHandlers.some(
    ({ name, features }) => name === '' && features?.userNamespaces === true,
  );
  return { pods: 0, execs: 0, sessions: 0, pulls: 0, repeated: 0, mapped };
}

/** Wraps one request: an endurance run of one daemon passes it through, a run with upgrades repeats it. */
export type Ask = <T>(name: string, request: () => Promise<T>) => Promise<T>;

const untilNotified = (code: number): string[] => [
  'sh',
  '-c',
  `trap 'exit ${code}' TERM; while :; do sleep 600 & wait $!; done`,
];

/**
 * Runs one pod through its lifecycle as a kubelet does: a container that exits and a container that is
 * stopped, each with its own exit code, commands, an exec session, statistics, a rotated log; then everything
 * is removed. Every third pod has a user namespace, every fifth a host port.
 * @throws AssertionError for a wrong exit code, a wrong answer of a command or a wrong state
 */
export async function livePod(
  stage: Stage,
  image: string,
  lane: number,
  round: number,
  ask: Ask,
  work: Work,
): Promise<void> {
  const runtime = () => stage.daemon.cri.runtime;
  const name = `lane${lane}-${round}`;
  const range = { hostId: 1_000_000 + lane * 65_536, containerId: 0, length: 65_536 };
  const usernsOptions = { mode: 0 as const, uids: [range], gids: [range] };
  const security = {
    namespaceOptions: { ...namespaceOptions, ...(work.mapped && round % 3 === 0 && { usernsOptions }) },
  };
  const config = podConfig(stage, name, {
    ...(round % 5 === 0 && {
      portMappings: [{ protocol: 0 as const, containerPort: 80, hostPort: 20_000 + lane, hostIp: '' }],
    }),
    linux: { securityContext: security },
  });
  const { podSandboxId } = await ask('RunPodSandbox', () =>
    runtime().runPodSandbox({ config, runtimeHandler: '' }),
  );
  const start = async (container: string, command: readonly string[]): Promise<string> => {
    const request = {
      podSandboxId,
      config: containerConfig({ name: container, image, command, security }),
      sandboxConfig: config,
    };
    const { containerId } = await ask('CreateContainer', () => runtime().createContainer(request));
    await ask('StartContainer', async () => {
      const { status } = await runtime().containerStatus({ containerId });
      // For a repeated request: the first one may have started it.
      if (status?.state === ContainerState.CONTAINER_CREATED) await runtime().startContainer({ containerId });
    });
    return containerId;
  };
  const [own, reported] = [randomInt(1, 120), randomInt(1, 120)];
  const ends = await start('ends', ['sh', '-c', `exit ${own}`]);
  const lives = await start('lives', untilNotified(reported));
  const answer = await ask('ExecSync', () =>
    runtime().execSync({ containerId: lives, cmd: ['echo', name], timeout: 20 }),
  );
  assert.equal(Buffer.from(answer.stdout).toString(), `${name}\n`);
  work.execs += 1;
  if (round % 8 === 0) {
    const streams = { tty: false, stdin: true, stdout: true, stderr: true };
    await ask('Exec', async () => {
      const { url } = await runtime().exec({ containerId: lives, cmd: ['cat'], ...streams });
      const session = await openCommand(url);
      session.drop();
      await session.closed;
    });
    work.sessions += 1;
  }
  await ask('ContainerStats', () => runtime().containerStats({ containerId: lives }));
  const linux = { cpuShares: 100 + (round % 100) };
  await ask('UpdateContainerResources', () =>
    runtime().updateContainerResources({ containerId: lives, linux }),
  );
  await ask('ReopenContainerLog', () => runtime().reopenContainerLog({ containerId: lives }));
  assert.equal(
    (await ask('ContainerStatus', () => exitOf(stage, ends)))?.exitCode,
    own,
    `${name}: the code of a container that ended`,
  );
  await ask('StopContainer', () => runtime().stopContainer({ containerId: lives, timeout: 20 }));
  assert.equal(
    (await ask('ContainerStatus', () => exitOf(stage, lives)))?.exitCode,
    reported,
    `${name}: the code of a stopped container`,
  );
  await ask('StopPodSandbox', () => runtime().stopPodSandbox({ podSandboxId }));
  for (const containerId of [ends, lives])
    await ask('RemoveContainer', () => runtime().removeContainer({ containerId }));
  await ask('RemovePodSandbox', () => runtime().removePodSandbox({ podSandboxId }));
  // As a kubelet does.
  rmSync(join(stage.logs, name), { recursive: true, force: true });
  work.pods += 1;
}

/** Pulls, looks up and removes an image of this lane's own: its layer is created and swept. */
export async function liveImage(
  stage: Stage,
  lane: number,
  round: number,
  ask: Ask,
  work: Work,
): Promise<void> {
  const repository = stage.repository(`lane/${lane}`);
  const tag = `r${round}`;
  const image = await buildImage({ layers: [await uniqueLayer()] });
  await pushImage(repository, image, tag);
  await stage.sign(`lane/${lane}`, image.manifestDigest);
  const reference = `${registryName}/lane/${lane}:${tag}`;
  const sandboxConfig = { metadata: { name: 'p', uid: 'u', namespace: podNamespace, attempt: 0 } };
  await ask('PullImage', () =>
    stage.daemon.cri.image.pullImage({ image: { image: reference }, sandboxConfig }),
  );
  const status = await ask('ImageStatus', () =>
    stage.daemon.cri.image.imageStatus({ image: { image: reference } }),
  );
  assert.ok(status.image, `${reference} is listed after its pull`);
  await ask('RemoveImage', () =>
    stage.daemon.cri.image.removeImage({ image: { image: status.image?.id ?? reference } }),
  );
  work.pulls += 1;
}

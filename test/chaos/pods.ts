import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerState } from '../../runtime/client.ts';
import type { CriClient } from '../../runtime/client.ts';
import type { Stage } from './stage.ts';

/** CRI NamespaceOption: network and IPC of the pod; processes of the pod (0) or of the container (1). */
const namespaceOptions = (shared: boolean) => ({ network: 0, pid: shared ? 0 : 1, ipc: 0 }) as const;

const range = { hostId: 1_000_000, containerId: 0, length: 65_536 };

/** The exit code of its TERM handler: only the program itself can have given this code. */
export const ownExitCode = 7;
const untilNotified = `trap 'exit ${ownExitCode}' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done`;

export type PodConfig = ReturnType<typeof podConfig>;

/**
 * Returns the configuration of a pod as a kubelet requests it.
 * @param cgroupParent empty: the daemon chooses the place
 * @param mapped in its own user namespace
 * @param shared its containers share a PID namespace
 */
export function podConfig(
  stage: Stage,
  name: string,
  cgroupParent: string,
  hostPort: number | undefined,
  mapped: boolean,
  shared: boolean,
) {
  const usernsOptions = { mode: 0 as const, uids: [range], gids: [range] };
  return {
    metadata: { name, uid: randomUUID(), namespace: 'chaos', attempt: 0 },
    hostname: name,
    logDirectory: join(stage.logs, name),
    linux: {
      cgroupParent,
      securityContext: {
        namespaceOptions: { ...namespaceOptions(shared), ...(mapped && { usernsOptions }) },
      },
    },
    portMappings:
      hostPort === undefined ? [] : [{ protocol: 0 as const, containerPort: 8080, hostPort, hostIp: '' }],
  };
}

/** @param shared in its pod's PID namespace, which is created then if the pod has none yet */
export function containerConfig(reference: string, shared: boolean) {
  return {
    metadata: { name: 'main', attempt: 0 },
    image: { image: reference, userSpecifiedImage: reference },
    command: ['/bin/sh', '-c', untilNotified],
    logPath: 'main/0.log',
    linux: {
      resources: { memoryLimitInBytes: 64 * 2 ** 20, cpuShares: 256 },
      securityContext: { namespaceOptions: namespaceOptions(shared) },
    },
  };
}

export async function pull(cri: CriClient, reference: string): Promise<void> {
  await cri.image.pullImage({ image: { image: reference } }, { timeoutMs: 60_000 });
}

/** A command in a container ended by SIGKILL: its container, or the runtime that started it, was killed. */
export class CommandKilled extends Error {}

/**
 * Shows that the container really runs: a command in it answers. @throws CommandKilled when a signal ended
 * the command
 */
export async function proveRuns(cri: CriClient, containerId: string): Promise<void> {
  const { status } = await cri.runtime.containerStatus({ containerId });
  if (status?.state !== ContainerState.CONTAINER_RUNNING)
    throw new Error(`the container is in state ${status?.state ?? 'unknown'}, not running`);
  const { exitCode, stdout, stderr } = await cri.runtime.execSync(
    { containerId, cmd: ['/bin/echo', 'alive'], timeout: 10 },
    { timeoutMs: 20_000 },
  );
  const said = Buffer.from(stdout).toString().trim();
  if (exitCode === 137) throw new CommandKilled('the command was killed');
  if (exitCode !== 0 || said !== 'alive')
    throw new Error(`exec answers ${exitCode} ${said} ${Buffer.from(stderr).toString()}`);
}

/**
 * Waits until the program (which need not be process 1) has set its handler and writes output: from then on
 * it ends on request.
 */
export async function untilItSpeaks(cri: CriClient, containerId: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const { exitCode } = await cri.runtime.execSync({
      containerId,
      cmd: [
        '/bin/sh',
        '-c',
        `for p in /proc/[0-9]*; do grep -q 't[i]ck' $p/cmdline && grep -q '^SigCgt:.*[4-7c-f]...$' $p/status && exit 0; done; exit 1`,
      ],
      timeout: 10,
    });
    if (exitCode === 0) return;
    await pause(10);
  }
  throw new Error('the program in the container set no handler within 2 s');
}

export async function removeEverything(cri: CriClient): Promise<void> {
  const { items } = await cri.runtime.listPodSandbox({});
  for (const { id: podSandboxId } of items) {
    await cri.runtime.stopPodSandbox({ podSandboxId }, { timeoutMs: 60_000 });
    await cri.runtime.removePodSandbox({ podSandboxId }, { timeoutMs: 60_000 });
  }
  const { images } = await cri.image.listImages({});
  for (const { id: image } of images)
    await cri.image.removeImage({ image: { image } }, { timeoutMs: 60_000 });
}

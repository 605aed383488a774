import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import type { CriClient } from '../../runtime/client.ts';
import { containerConfig, ownExitCode, podConfig, proveRuns, pull, untilItSpeaks } from './pods.ts';
import type { PodConfig } from './pods.ts';
import type { Stage } from './stage.ts';

/** The subject of one kill: the same request is made before and after it. */
export interface Case {
  readonly reference: string;
  readonly pod: PodConfig;
  /** The container shares its pod's PID namespace. */
  readonly shared: boolean;
  podSandboxId: string;
  containerId: string;
}

export interface Act {
  readonly name: string;
  /** Brings a daemon without pods and images to the state in which the request makes sense. */
  prepare(cri: CriClient, it: Case): Promise<void>;
  request(cri: CriClient, it: Case): Promise<unknown>;
  /** Checks the effects of the request after it has succeeded. Throws when they are not in force. */
  prove(cri: CriClient, it: Case): Promise<void>;
}

export function newCase(stage: Stage, name: string, ownCgroup: boolean, hostPort?: number): Case {
  // The first pod shows the lasting effects of a shared PID namespace; every second one of the others has
  // such a namespace, and half of those request it in the pod's own configuration.
  const shared = name === 'first' || /[02468]$/.test(name);
  const said = name === 'first' || /[048]$/.test(name);
  return {
    reference: stage.reference,
    pod: podConfig(
      stage,
      name,
      ownCgroup ? `${stage.cgroupParent}/${name}` : '',
      hostPort,
      !ownCgroup && stage.mapped,
      said,
    ),
    shared,
    podSandboxId: '',
    containerId: '',
  };
}

const patience = { timeoutMs: 60_000 };

async function run(cri: CriClient, it: Case): Promise<void> {
  it.podSandboxId = (await cri.runtime.runPodSandbox({ config: it.pod }, patience)).podSandboxId;
}
async function create(cri: CriClient, it: Case): Promise<void> {
  const request = {
    podSandboxId: it.podSandboxId,
    config: containerConfig(it.reference, it.shared),
    sandboxConfig: it.pod,
  };
  it.containerId = (await cri.runtime.createContainer(request, patience)).containerId;
}
async function start(cri: CriClient, it: Case): Promise<void> {
  await cri.runtime.startContainer({ containerId: it.containerId }, patience);
}
async function toRunning(cri: CriClient, it: Case): Promise<void> {
  await pull(cri, it.reference);
  await run(cri, it);
  await create(cri, it);
  await start(cri, it);
  await untilItSpeaks(cri, it.containerId);
}

async function listed(cri: CriClient): Promise<{ pods: number; ready: number; containers: number }> {
  const { items } = await cri.runtime.listPodSandbox({});
  const { containers } = await cri.runtime.listContainers({});
  const ready = items.filter(({ state }) => state === PodSandboxState.SANDBOX_READY).length;
  return { pods: items.length, ready, containers: containers.length };
}
async function expectListed(cri: CriClient, expected: Awaited<ReturnType<typeof listed>>): Promise<void> {
  const found = await listed(cri);
  const [is, should] = [JSON.stringify(found), JSON.stringify(expected)];
  if (is !== should) throw new Error(`listed are ${is}, not ${should}`);
}
async function expectExit(cri: CriClient, it: Case, codes: readonly number[]): Promise<void> {
  const { status } = await cri.runtime.containerStatus({ containerId: it.containerId });
  if (status?.state !== ContainerState.CONTAINER_EXITED)
    throw new Error(`the container is in state ${status?.state ?? 'unknown'}, not exited`);
  if (!codes.includes(status.exitCode))
    throw new Error(`the exit code is ${status.exitCode} (${status.reason}), not ${codes.join(' or ')}`);
}

export const acts: readonly Act[] = [
  {
    name: 'RunPodSandbox',
    prepare: () => Promise.resolve(),
    request: run,
    prove: async (cri, it) => {
      await expectListed(cri, { pods: 1, ready: 1, containers: 0 });
      await pull(cri, it.reference);
      await create(cri, it);
      await start(cri, it);
      await proveRuns(cri, it.containerId);
    },
  },
  {
    name: 'CreateContainer',
    prepare: async (cri, it) => {
      await pull(cri, it.reference);
      await run(cri, it);
    },
    request: create,
    prove: async (cri, it) => {
      await expectListed(cri, { pods: 1, ready: 1, containers: 1 });
      await start(cri, it);
      await proveRuns(cri, it.containerId);
    },
  },
  {
    name: 'StartContainer',
    prepare: async (cri, it) => {
      await pull(cri, it.reference);
      await run(cri, it);
      await create(cri, it);
    },
    request: start,
    prove: async (cri, it) => {
      await expectListed(cri, { pods: 1, ready: 1, containers: 1 });
      await proveRuns(cri, it.containerId);
    },
  },
  {
    name: 'PullImage',
    prepare: () => Promise.resolve(),
    request: (cri, it) => pull(cri, it.reference),
    prove: async (cri, it) => {
      const { images } = await cri.image.listImages({});
      if (images.length !== 1) throw new Error(`${images.length} images are listed`);
      await run(cri, it);
      await create(cri, it);
      await start(cri, it);
      await proveRuns(cri, it.containerId);
    },
  },
  {
    name: 'UpdateContainerResources',
    prepare: toRunning,
    request: (cri, it) =>
      cri.runtime.updateContainerResources(
        { containerId: it.containerId, linux: { cpuShares: 512 } },
        patience,
      ),
    prove: async (cri, it) => {
      const { status } = await cri.runtime.containerStatus({ containerId: it.containerId });
      const shares = Number(status?.resources?.linux?.cpuShares);
      if (shares !== 512) throw new Error(`the container is reported to have ${shares} CPU shares`);
      await proveRuns(cri, it.containerId);
    },
  },
  {
    name: 'StopContainer',
    prepare: toRunning,
    request: (cri, it) => cri.runtime.stopContainer({ containerId: it.containerId, timeout: 20 }, patience),
    prove: async (cri, it) => {
      await expectListed(cri, { pods: 1, ready: 1, containers: 1 });
      await expectExit(cri, it, [ownExitCode]);
    },
  },
  {
    name: 'RemoveContainer',
    prepare: toRunning,
    request: (cri, it) => cri.runtime.removeContainer({ containerId: it.containerId }, patience),
    prove: (cri) => expectListed(cri, { pods: 1, ready: 1, containers: 0 }),
  },
  {
    name: 'StopPodSandbox',
    prepare: toRunning,
    request: (cri, it) => cri.runtime.stopPodSandbox({ podSandboxId: it.podSandboxId }, patience),
    prove: async (cri, it) => {
      await expectListed(cri, { pods: 1, ready: 0, containers: 1 });
      // A pod that is stopped gives its containers no grace period: they are killed.
      await expectExit(cri, it, [137]);
    },
  },
  {
    name: 'RemovePodSandbox',
    prepare: toRunning,
    request: (cri, it) => cri.runtime.removePodSandbox({ podSandboxId: it.podSandboxId }, patience),
    prove: (cri) => expectListed(cri, { pods: 0, ready: 0, containers: 0 }),
  },
  {
    name: 'RemoveImage',
    prepare: (cri, it) => pull(cri, it.reference),
    request: (cri, it) => cri.image.removeImage({ image: { image: it.reference } }, patience),
    prove: async (cri) => {
      const { images } = await cri.image.listImages({});
      if (images.length !== 0) throw new Error(`${images.length} images are listed`);
    },
  },
];

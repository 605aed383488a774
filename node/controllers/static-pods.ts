import { reasonOf } from '../../base/errors/index.ts';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import type { Container, PodSandbox } from '../../runtime/client.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type {
  Change,
  Controller,
  Item,
  Limits,
  NodeState,
  Observed,
  WantedContainer,
  WantedPod,
} from '../model/types.ts';
import { askMs, pullMs } from './node-access.ts';
import type { DaemonAccess } from './node-access.ts';
import { staticPodSchema } from './static-pod-schema.ts';

const managed = { 'portcullis.dev/managed-by': 'node-state' } as const;
const fingerprintKey = 'portcullis.dev/node-state-fingerprint';
const countKey = 'portcullis.dev/node-state-containers';
/** NamespaceMode of the CRI. */
const [podLevel, containerLevel, nodeLevel] = [0, 1, 2] as const;

/**
 * Pods that this node runs by itself, through the CRI. Labels mark the pods as ours, so a pod that was
 * incomplete when this process was killed is found again. An incomplete pod is replaced.
 */
export function staticPodController(access: DaemonAccess, logs: string): Controller {
  return {
    section: 'staticPods',
    after: ['images', 'networks', 'policies', 'sysctls'],
    foreign: 'exclusive',
    backsOff: true,
    atOnce: 16,
    schema: staticPodSchema,
    items: ({ staticPods }: NodeState) =>
      new Map(
        staticPods.map((pod): [string, Item] => {
          const fingerprint = fingerprintOf(pod);
          const images = pod.containers.map(({ image }) => image).join(' ');
          return [
            nameOf(pod),
            { fingerprint, visible: running(fingerprint), shown: `${images} [${fingerprint.slice(0, 8)}]` },
          ];
        }),
      ),
    observe: (_, limits) => observe(access, limits),
    async apply({ action, name }: Change, state, limits) {
      const pod = state.staticPods.find((one) => nameOf(one) === name);
      const wanted = action === 'delete' ? undefined : pod;
      // The former pod runs until the images of the new one are here: they may be denied or not exist.
      if (wanted !== undefined) await ensureImages(access, wanted, limits);
      await removePods(access, name, limits);
      if (wanted !== undefined) await runPod(access, logs, wanted, limits);
    },
  };
}

const nameOf = ({ namespace, name }: Pick<WantedPod, 'name' | 'namespace'>): string => `${namespace}/${name}`;
const running = (fingerprint: string): string => `${fingerprint} running`;

async function ourPods({ cri }: DaemonAccess, limits: Limits): Promise<readonly PodSandbox[]> {
  const filter = { labelSelector: managed };
  return (await cri.runtime.listPodSandbox({ filter }, within(askMs, limits))).items;
}

const sandboxName = ({ metadata }: PodSandbox): string =>
  nameOf({ namespace: metadata?.namespace ?? '', name: metadata?.name ?? '' });

async function observe(access: DaemonAccess, limits: Limits): Promise<ReadonlyMap<string, Observed>> {
  const pods = await ourPods(access, limits);
  const { containers } = await access.cri.runtime.listContainers(
    { filter: { labelSelector: managed } },
    within(askMs, limits),
  );
  const found = new Map<string, Observed>();
  for (const [name, same] of Map.groupBy(pods, sandboxName)) {
    const [pod] = same;
    const why =
      pod === undefined || same.length > 1
        ? `${same.length} pods have this name`
        : whyNotRunning(
            pod,
            containers.filter(({ podSandboxId }) => podSandboxId === pod.id),
          );
    const fingerprint = pod?.annotations[fingerprintKey] ?? '';
    const id = `${pod?.id.slice(0, 13) ?? ''} [${fingerprint.slice(0, 8)}]`;
    found.set(name, {
      visible: why === undefined ? running(fingerprint) : why,
      shown: why === undefined ? `running ${id}` : `${why} ${id}`,
      ours: true,
    });
  }
  return found;
}

function whyNotRunning(pod: PodSandbox, containers: readonly Container[]): string | undefined {
  if (pod.state !== PodSandboxState.SANDBOX_READY) return 'the pod is not ready';
  const ended = containers.find(({ state }) => state !== ContainerState.CONTAINER_RUNNING);
  if (ended !== undefined) return `the container ${ended.metadata?.name ?? ''} does not run`;
  const count = Number(pod.annotations[countKey]);
  return containers.length === count ? undefined : `${containers.length} of ${count} containers run`;
}

async function removePods(access: DaemonAccess, name: string, limits: Limits): Promise<void> {
  for (const { id: podSandboxId } of (await ourPods(access, limits)).filter(
    (pod) => sandboxName(pod) === name,
  )) {
    await access.cri.runtime.stopPodSandbox({ podSandboxId }, within(askMs, limits));
    await access.cri.runtime.removePodSandbox({ podSandboxId }, within(askMs, limits));
  }
}

async function runPod(access: DaemonAccess, logs: string, pod: WantedPod, limits: Limits): Promise<void> {
  const { cri } = access;
  const fingerprint = fingerprintOf(pod);
  const { name, namespace, runtimeHandler } = pod;
  const metadata = metadataOf(pod);
  const namespaceOptions = {
    network: pod.hostNetwork ? nodeLevel : podLevel,
    pid: containerLevel,
    ipc: podLevel,
  };
  const config = {
    metadata,
    hostname: pod.hostNetwork ? '' : name,
    logDirectory: `${logs}/${namespace}_${name}_${metadata.uid}`,
    labels: { ...pod.labels, ...managed },
    annotations: {
      ...pod.annotations,
      [fingerprintKey]: fingerprint,
      [countKey]: String(pod.containers.length),
    },
    linux: { securityContext: { namespaceOptions } },
  };
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config, runtimeHandler }, within(askMs, limits));
  try {
    for (const container of pod.containers) {
      const asked = { podSandboxId, config: containerConfig(container, pod), sandboxConfig: config };
      const { containerId } = await cri.runtime.createContainer(asked, within(askMs, limits));
      await cri.runtime.startContainer({ containerId }, within(askMs, limits));
    }
  } catch (thrown) {
    // A pod that remains is replaced by the next attempt, because it has our labels.
    await removePods(access, nameOf(pod), limits).catch((also: unknown) => void reasonOf(also));
    throw thrown;
  }
}

type Metadata = { name: string; namespace: string; uid: string; attempt: number };

function metadataOf(pod: WantedPod): Metadata {
  const { name, namespace } = pod;
  const fingerprint = fingerprintOf(pod);
  const uid = `${fingerprint.slice(0, 8)}-${fingerprint.slice(8, 12)}-${fingerprint.slice(12, 16)}-${fingerprint.slice(16, 20)}-${fingerprint.slice(20, 32)}`;
  // The daemon treats a repeated request as one for the same pod: another attempt is another pod.
  return { name, namespace, uid, attempt: Math.trunc(Date.now() / 1000) % 2 ** 31 };
}

async function ensureImages(access: DaemonAccess, pod: WantedPod, limits: Limits): Promise<void> {
  const metadata = metadataOf(pod);
  for (const { image } of pod.containers) await ensureImage(access, image, metadata, limits);
}

async function ensureImage(
  { cri }: DaemonAccess,
  image: string,
  metadata: Metadata,
  limits: Limits,
): Promise<void> {
  const status = await cri.image.imageStatus({ image: { image } }, within(askMs, limits));
  if (status.image !== undefined) return;
  await cri.image.pullImage({ image: { image }, sandboxConfig: { metadata } }, within(pullMs, limits));
}

function containerConfig(container: WantedContainer, pod: WantedPod) {
  const { name, image, command, args, workingDir, env, mounts, memory, cpuMillis, privileged } = container;
  return {
    metadata: { name, attempt: 0 },
    image: { image, userSpecifiedImage: image },
    command: [...command],
    args: [...args],
    workingDir,
    envs: Object.entries(env).map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: mounts.map(({ hostPath, containerPath, readOnly }) => ({
      hostPath,
      containerPath,
      readonly: readOnly,
    })),
    labels: managed,
    logPath: `${name}.log`,
    linux: {
      resources: {
        ...(memory !== undefined && { memoryLimitInBytes: memory }),
        ...(cpuMillis !== undefined && { cpuPeriod: 100_000, cpuQuota: cpuMillis * 100 }),
      },
      securityContext: {
        privileged,
        namespaceOptions: {
          network: pod.hostNetwork ? nodeLevel : podLevel,
          pid: containerLevel,
          ipc: podLevel,
        },
      },
    },
  };
}

const within = (timeoutMs: number, { signal }: Limits) => ({ timeoutMs, signal });

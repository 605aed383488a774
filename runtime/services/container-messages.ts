import { attempt } from '../../base/errors/index.ts';
import type { Init } from '../../base/protobuf/index.ts';
import { ContainerState } from '../cri/contract/contract.types.ts';
import type { Container, ContainerStatus, Mount } from '../cri/contract/contract.types.ts';
import { Signal } from '../cri/contract/contract.types.ts';
import { largestMessage } from '../cri/limits.ts';
import { printableMessage } from '../cri/printable.ts';
import { firstProcess } from '../containers/record.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { signalNumber } from '../containers/stop-signal.ts';
import { requestJson } from './request-json.ts';

/** cri-api ContainerState. A start that is still running has not happened yet. */
export function containerState(record: ContainerRecord): ContainerState {
  switch (record.phase) {
    case 'created':
    case 'creating':
    case 'starting':
      return ContainerState.CONTAINER_CREATED;
    case 'running':
      return ContainerState.CONTAINER_RUNNING;
    case 'exited':
    case 'removing':
      return ContainerState.CONTAINER_EXITED;
  }
}

/** The entry of a list (cri-api Container). */
export function containerItem(record: ContainerRecord) {
  const { metadata, labels, annotations, image } = record.config;
  return {
    id: record.id,
    podSandboxId: record.sandboxId,
    metadata,
    image: { ...image, image: image?.image ?? record.imageId },
    imageRef: record.imageRef,
    imageId: record.imageId,
    state: containerState(record),
    createdAt: record.createdAt,
    labels,
    annotations,
  } satisfies Init<Container>;
}

/** cri-api ContainerStatus. */
export function containerStatus(record: ContainerRecord): Init<ContainerStatus> {
  const { config } = record;
  return {
    ...containerItem(record),
    image: {
      ...config.image,
      image: config.image?.userSpecifiedImage || config.image?.image || record.imageId,
    },
    startedAt: record.startedAt,
    finishedAt: record.finishedAt,
    exitCode: record.exitCode,
    reason: record.reason,
    message: printableMessage(record.message),
    mounts: config.mounts.map((mount) => withImageRef(mount, record.volumeImages?.[mount.containerPath])),
    logPath: record.logPath,
    // Always set, as in other runtimes: no request means no limit.
    resources: { linux: config.linux?.resources ?? {} },
    user: {
      linux: { uid: record.user.uid, gid: record.user.gid, supplementalGroups: record.user.additionalGids },
    },
    stopSignal: stopSignal(record),
  };
}

/**
 * For an image volume, adds the digest that is mounted (cri-api ImageSpec.image_ref; a kubelet shows it in
 * the pod's status).
 */
function withImageRef(mount: Mount, imageRef: string | undefined): Mount {
  return mount.image === undefined || imageRef === undefined
    ? mount
    : { ...mount, image: { ...mount.image, imageRef } };
}

function stopSignal(record: ContainerRecord): Signal {
  const named = (Signal as Readonly<Record<string, Signal>>)[`SIGNAL_${record.stopSignal}`];
  if (named !== undefined) return named;
  const number = signalNumber(record.stopSignal);
  return (
    Object.entries(Signal).find(
      ([name]) => name !== 'SIGNAL_SIGNAL_RUNTIME_DEFAULT' && safeNumber(name) === number,
    )?.[1] ?? Signal.SIGNAL_RUNTIME_DEFAULT
  );
}

function safeNumber(name: string): number | undefined {
  return attempt(() => signalNumber(name.replace('SIGNAL_', '')));
}

/**
 * Returns what `crictl inspect` shows below the status: decision, confinement, processes. Tools read the
 * names that containerd and CRI-O have: `pid`, `sandboxID` and `runtimeSpec`.
 * @param runtimeSpec the OCI configuration. Undefined: the node does not have it (any more)
 */
export function containerInfo(
  record: ContainerRecord,
  runtimeSpec: object | undefined,
): Record<string, string> {
  const {
    id,
    sandboxId,
    phase,
    monitor,
    verdictId,
    settingsDigest,
    networkClass,
    runtimeHandler,
    noNewPrivileges,
    labels,
    degraded,
    adjusted,
  } = record;
  return {
    info: JSON.stringify({
      id,
      sandboxID: sandboxId,
      phase,
      pid: firstProcess(record),
      monitorPid: monitor?.pid ?? 0,
      verdictId,
      settingsDigest,
      networkClass,
      noNewPrivileges,
      labels,
      degraded,
      ...(adjusted !== undefined && { adjustments: adjusted.adjustments }),
      runtimeHandler,
      config: unlessLarge(requestJson('ContainerConfig', record.config)),
      runtimeSpec: unlessLarge(runtimeSpec),
    }),
  };
}

/** In bytes. The environment occurs in two parts, and both must fit into a message. */
const largestPart = largestMessage / 4;

/** Returns a remark in place of a part that could make the message larger than clients accept. */
function unlessLarge(part: object | undefined): object | undefined {
  const size = part === undefined ? 0 : Buffer.byteLength(JSON.stringify(part));
  return size <= largestPart ? part : { omitted: `it has ${size} bytes` };
}

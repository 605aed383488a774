import type { Init } from '../../../base/protobuf/index.ts';
import { nothingBeyond } from '../../containers/adjusted.ts';
import type { BeyondCri } from '../../containers/adjusted.ts';
import { argumentsOf, environmentOf, withoutVariables } from '../../containers/bundle/process-of.ts';
import { firstProcess } from '../../containers/record.ts';
import type { ContainerRecord } from '../../containers/record.ts';
import { MountPropagation } from '../../cri/contract/contract.types.ts';
import type {
  ContainerConfig,
  LinuxContainerResources,
  Mount as RequestedMount,
} from '../../cri/contract/contract.types.ts';
import type { ImageConfig } from '../../images/types.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { hookKinds } from '../adjustment/change.ts';
import { ContainerState } from '../protocol/contract.types.ts';
import type { Container, Hooks, LinuxResources, Mount } from '../protocol/contract.types.ts';
import { containerNamespaces } from './namespaces.ts';

/** A container as plugins see it: its request, and the known facts about its process. */
export interface ContainerFacts {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly beyond?: BeyondCri | undefined;
  readonly sandbox: Pick<SandboxRecord, 'id' | 'config' | 'namespacesDir' | 'phase'>;
  readonly imageConfig: ImageConfig | undefined;
  /** Absent while the container is being created. */
  readonly record?: ContainerRecord;
  readonly createdAt: string;
}

/**
 * Returns a container as a message. Pure. Plugins see the request with the adjustments of the plugins before
 * them, not the mounts and devices that every container has.
 * Source: nri, pkg/api/api.proto, Container.
 */
export function containerMessage(facts: ContainerFacts): Init<Container> {
  const { id, config, sandbox, record, beyond = nothingBeyond } = facts;
  const resources = config.linux?.resources;
  return {
    id,
    podSandboxId: sandbox.id,
    name: config.metadata?.name ?? '',
    state: stateOf(record),
    labels: config.labels,
    annotations: beyond.annotations ?? config.annotations,
    ...processOf(facts),
    mounts: config.mounts.filter(({ image }) => image === undefined).map(mountMessage),
    hooks: hooksMessage(beyond),
    linux: {
      namespaces: containerNamespaces(sandbox, config),
      devices: beyond.devices.map(({ fileMode, uid, gid, ...device }) => ({
        ...device,
        fileMode: { value: fileMode },
        uid: { value: uid },
        gid: { value: gid },
      })),
      ...(resources !== undefined && {
        resources: resourcesMessage(resources),
        oomScoreAdj: { value: resources.oomScoreAdj },
      }),
      seccompProfile: {
        profileType: config.linux?.securityContext?.seccomp?.profileType ?? 1,
        localhostRef: config.linux?.securityContext?.seccomp?.localhostRef ?? '',
      },
    },
    pid: record === undefined ? 0 : firstProcess(record),
    rlimits: beyond.rlimits.map(({ type, soft, hard }) => ({ type, soft: Number(soft), hard: Number(hard) })),
    createdAt: record?.createdAt ?? facts.createdAt,
    startedAt: record?.startedAt ?? '0',
    finishedAt: record?.finishedAt ?? '0',
    exitCode: record?.exitCode ?? 0,
    statusReason: record?.reason ?? '',
    statusMessage: record?.message ?? '',
    cdiDevices: config.CDIDevices,
    ...(record !== undefined && record.phase !== 'creating' && { user: record.user }),
    image: { name: config.image?.userSpecifiedImage ?? '', configDigest: config.image?.image ?? '' },
  };
}

function stateOf(record: ContainerRecord | undefined): ContainerState {
  switch (record?.phase) {
    case undefined:
    case 'creating':
      return ContainerState.CONTAINER_UNKNOWN;
    case 'created':
    case 'starting':
      return ContainerState.CONTAINER_CREATED;
    case 'running':
      return ContainerState.CONTAINER_RUNNING;
    default:
      return ContainerState.CONTAINER_STOPPED;
  }
}

/** A request without a program, or with an invalid variable, is refused after the plugins have seen it. */
function processOf({
  config,
  imageConfig,
  beyond,
  sandbox,
}: ContainerFacts): Init<Pick<Container, 'args' | 'env'>> {
  if (imageConfig === undefined) return { args: [...config.command, ...config.args] };
  try {
    const env = environmentOf(config, imageConfig, sandbox.config.hostname);
    return { args: argumentsOf(config, imageConfig), env: withoutVariables(env, beyond?.removedEnv) };
  } catch {
    return { args: [...config.command, ...config.args] };
  }
}

function mountMessage(mount: RequestedMount): Mount {
  const shared =
    mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL
      ? 'rshared'
      : mount.propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER
        ? 'rslave'
        : 'rprivate';
  return {
    destination: mount.containerPath,
    type: 'bind',
    source: mount.hostPath,
    options: ['rbind', shared, mount.readonly ? 'ro' : 'rw', ...mount.mountOptions],
  };
}

function hooksMessage({ hooks }: BeyondCri): Init<Hooks> {
  return Object.fromEntries(
    hookKinds.map((kind) => [
      kind,
      hooks
        .filter(({ hookName }) => hookName === kind)
        .map(({ path, args = [], env = [], timeout = 0 }) => ({
          path,
          args,
          env,
          timeout: { value: timeout },
        })),
    ]),
  );
}

/** Returns resources as a message. Pure. A value that is not requested stays absent. */
export function resourcesMessage(resources: LinuxContainerResources): Init<LinuxResources> {
  const some = (value: number): { value: number } | undefined => (value === 0 ? undefined : { value });
  return {
    memory: { limit: some(resources.memoryLimitInBytes), swap: some(resources.memorySwapLimitInBytes) },
    cpu: {
      shares: some(resources.cpuShares),
      quota: some(resources.cpuQuota),
      period: some(resources.cpuPeriod),
      cpus: resources.cpusetCpus,
      mems: resources.cpusetMems,
    },
    hugepageLimits: resources.hugepageLimits,
    unified: resources.unified,
  };
}

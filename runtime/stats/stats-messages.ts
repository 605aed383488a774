import type { ContainerRecord } from '../containers/record.ts';
import type {
  ContainerMetrics,
  ContainerStats,
  FilesystemUsage,
  PodSandboxMetrics,
  PodSandboxStats,
} from '../cri/contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { CgroupDetail, CgroupUsage } from './cgroup-reading.ts';
import { containerMetrics, endedContainerMetrics, podMetrics } from './metrics.ts';
import type { NetDevice } from './net-devices.ts';
import { hasRun } from './targets.ts';
import { cpuUsage, ioUsage, layerUsage, memoryUsage, networkUsage, swapUsage } from './usage-messages.ts';
import type { LayerUsage } from './writable-layers.ts';

/** Messages of the CRI from the records of pods and containers and what was read for them. Pure. */

/** Readings of containers and pods, by their ids. */
export interface Readings<Reading> {
  readonly cgroups: ReadonlyMap<string, Reading | undefined>;
  readonly layers: ReadonlyMap<string, LayerUsage | undefined>;
  readonly networks: ReadonlyMap<string, readonly NetDevice[]>;
  /** The mount point of the file system that holds the writable layers. */
  readonly mountpoint: string;
  /** Nanoseconds since 1970. */
  readonly at: bigint;
}

const unused: CgroupUsage = {
  at: 0n,
  cpu: { usageNs: 0 },
  memory: { usageBytes: 0, inactiveFileBytes: 0, rssBytes: 0, pageFaults: 0, majorPageFaults: 0 },
};

/** A container that does not run only has its attributes and its writable layer. */
export function containerStats(
  record: ContainerRecord,
  { cgroups, layers, mountpoint }: Pick<Readings<CgroupUsage>, 'cgroups' | 'layers' | 'mountpoint'>,
): Init<ContainerStats> {
  const [reading, layer] = [cgroups.get(record.id), layers.get(record.id)];
  return {
    attributes: attributesOf(record),
    ...(reading !== undefined && {
      cpu: cpuUsage(reading),
      memory: memoryUsage(reading),
      swap: swapUsage(reading),
      io: ioUsage(reading),
    }),
    ...(layer !== undefined && { writableLayer: layerUsage(mountpoint, layer) }),
  };
}

/** @param containers the containers of the pod */
export function sandboxStats(
  record: SandboxRecord,
  containers: readonly ContainerRecord[],
  readings: Readings<CgroupUsage>,
): Init<PodSandboxStats> {
  const { cgroups, networks, at } = readings;
  // Before any process has run, the kernel may have no cgroup: nothing was used.
  const reading = cgroups.get(record.id) ?? { ...unused, at };
  const devices = networks.get(record.id);
  const processCount = containers.reduce((sum, { id }) => sum + (cgroups.get(id)?.tasks ?? 0), 0);
  const linux: Init<PodSandboxStats>['linux'] = {
    cpu: cpuUsage(reading),
    memory: memoryUsage(reading),
    io: ioUsage(reading),
    process: { timestamp: reading.at, processCount: { value: processCount } },
    ...(devices !== undefined && { network: networkUsage(at, devices) }),
    containers: containers.map((one) => containerStats(one, readings)),
  };
  return { attributes: attributesOf(record), linux };
}

/** @param containers the containers of the pod */
export function sandboxMetrics(
  sandbox: SandboxRecord,
  containers: readonly ContainerRecord[],
  { cgroups, layers, networks, at }: Readings<CgroupDetail>,
): Init<PodSandboxMetrics> {
  return {
    podSandboxId: sandbox.id,
    metrics: podMetrics(sandbox, at, networks.get(sandbox.id) ?? []),
    containerMetrics: containers.filter(hasRun).flatMap((record): Init<ContainerMetrics>[] => {
      const reading = cgroups.get(record.id);
      const { id: containerId } = record;
      if (record.phase !== 'running') {
        const metrics = endedContainerMetrics({ record, sandbox, at, oomKills: reading?.oomKills });
        return [{ containerId, metrics }];
      }
      // It has ended since.
      if (reading === undefined) return [];
      return [
        {
          containerId,
          metrics: containerMetrics({ record, sandbox, reading, layer: layers.get(record.id) }),
        },
      ];
    }),
  };
}

/** The usage of all writable layers together, as of the oldest value. */
export function layersTogether(
  usages: readonly LayerUsage[],
  mountpoint: string,
  now: bigint,
): Init<FilesystemUsage> {
  return {
    timestamp: usages.reduce((oldest, usage) => (usage.at < oldest ? usage.at : oldest), now),
    fsId: { mountpoint },
    usedBytes: { value: usages.reduce((sum, usage) => sum + usage.usedBytes, 0) },
    inodesUsed: { value: usages.reduce((sum, usage) => sum + usage.inodesUsed, 0) },
  };
}

function attributesOf({ id, config: { metadata, labels, annotations } }: ContainerRecord | SandboxRecord) {
  return { id, metadata, labels, annotations };
}

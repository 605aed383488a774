import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Kernel } from '../../base/kernel/index.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type {
  ContainerStats,
  FilesystemUsage,
  MetricDescriptor,
  PodSandboxMetrics,
  PodSandboxStats,
} from '../cri/contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';
import type { WritableLayers } from '../images/writable-layers.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { openCgroupStats } from './cgroup-stats.ts';
import type { CgroupUsage } from './cgroup-reading.ts';
import type { CgroupTarget } from './cgroup-stats.types.ts';
import { metricDescriptors } from './metric-descriptors.ts';
import { metricSupport } from './metric-support.ts';
import { networksOf } from './pod-networks.ts';
import { containerStats, layersTogether, sandboxMetrics, sandboxStats } from './stats-messages.ts';
import type { Readings } from './stats-messages.ts';
import { containerTargets, hasRun, isReady, isRunning, sandboxTarget } from './targets.ts';
import { createTaskUsages } from './task-usages.ts';
import type { ReadTaskUsage } from './task-usages.ts';
import { createWritableLayers } from './writable-layers.ts';
import type { LayerUsage } from './writable-layers.ts';

/**
 * The resource usage of containers and pods, as messages of the CRI: one per item, in the order of the items.
 */
export interface Stats {
  /** A container that does not run only has its attributes and its writable layer. */
  ofContainers(records: readonly ContainerRecord[]): Promise<Init<ContainerStats>[]>;
  /** Only for pods that are ready. */
  ofSandboxes(records: readonly SandboxRecord[]): Promise<Init<PodSandboxStats>[]>;
  /** Only for pods that are ready. */
  metricsOf(records: readonly SandboxRecord[]): Promise<Init<PodSandboxMetrics>[]>;
  /** Every metric that {@link metricsOf} can return on this kernel. */
  descriptors(): MetricDescriptor[];
  /**
   * The usage of all writable layers together, if they are on another file system than the images. Otherwise
   * undefined.
   */
  containerFilesystem(): Promise<Init<FilesystemUsage> | undefined>;
  close(): Promise<void>;
}

export interface StatsDeps {
  readonly cgroups: CgroupMounts;
  readonly kernel: Pick<Kernel, 'diskUsage' | 'readNetFiles'>;
  readonly writableLayers: WritableLayers;
  readonly containers: () => readonly ContainerRecord[];
  readonly sandboxes: () => readonly SandboxRecord[];
  /** Returns the type of a runtime handler's program. */
  readonly runtimeKind: (handler: string) => string | undefined;
  /** Absent: every container is measured by its cgroup. */
  readonly taskUsage?: ReadTaskUsage;
}

/** The number of items that are assembled before other work runs on the main thread. */
const itemsAtOnce = 16;

/**
 * Creates the statistics. Semantics: cri-api 0.37, ContainerStats, PodSandboxStats and the metrics. Where it
 * leaves a choice, the answer is containerd's.
 */
export function createStats(deps: StatsDeps): Stats {
  const { writableLayers, kernel } = deps;
  const { mountpoint } = writableLayers;
  const layers = createWritableLayers(kernel);
  const support = metricSupport(deps.cgroups);
  const tasksOf = createTaskUsages(deps.taskUsage ?? (() => undefined));

  const targetsOf = (records: readonly ContainerRecord[]): CgroupTarget[] =>
    containerTargets(records, deps.sandboxes(), deps.runtimeKind);

  const cgroups = openCgroupStats({
    mounts: deps.cgroups,
    targets: () => [
      ...targetsOf(deps.containers().filter(isRunning)),
      ...deps.sandboxes().filter(isReady).map(sandboxTarget),
    ],
  });

  const layersOf = (records: readonly ContainerRecord[]): Promise<readonly (LayerUsage | undefined)[]> =>
    layers.usage(records.map(({ id }) => writableLayers.folder(id)));

  /** Reads cgroups, writable layers and networks at the same time. */
  const readingsOf = async <Reading>(
    read: (targets: readonly CgroupTarget[]) => Promise<readonly (Reading | undefined)[]>,
    targets: readonly CgroupTarget[],
    written: readonly ContainerRecord[],
    pods: readonly SandboxRecord[],
  ): Promise<Readings<Reading>> => {
    const [readings, usages, networks] = await Promise.all([
      read(targets),
      layersOf(written),
      networksOf(kernel, pods),
    ]);
    return {
      cgroups: byId(targets, readings),
      layers: byId(written, usages),
      networks,
      mountpoint,
      at: nowNs(),
    };
  };

  /** Replaces the readings of containers whose processes are not in their cgroups. */
  const withTasks = async (
    reading: Promise<Readings<CgroupUsage>>,
    records: readonly ContainerRecord[],
  ): Promise<Readings<CgroupUsage>> => {
    const [readings, tasks] = await Promise.all([reading, tasksOf(records.filter(isRunning))]);
    return tasks.size === 0 ? readings : { ...readings, cgroups: new Map([...readings.cgroups, ...tasks]) };
  };

  const containersBySandbox = (): ReadonlyMap<string, readonly ContainerRecord[]> =>
    Map.groupBy(deps.containers(), (one) => one.sandboxId);

  return {
    ofContainers: async (records) => {
      const targets = targetsOf(records.filter(isRunning));
      const readings = await withTasks(readingsOf(cgroups.usage, targets, records, []), records);
      return inTurns(records, (record) => containerStats(record, readings));
    },
    ofSandboxes: async (records) => {
      const ready = records.filter(isReady);
      const bySandbox = containersBySandbox();
      const members = ready.flatMap((record) => bySandbox.get(record.id) ?? []);
      const targets = [...ready.map(sandboxTarget), ...targetsOf(members.filter(isRunning))];
      const readings = await withTasks(readingsOf(cgroups.usage, targets, members, ready), members);
      return inTurns(ready, (record) => sandboxStats(record, bySandbox.get(record.id) ?? [], readings));
    },
    metricsOf: async (records) => {
      const ready = records.filter(isReady);
      const bySandbox = containersBySandbox();
      const members = ready.flatMap((record) => bySandbox.get(record.id) ?? []).filter(hasRun);
      const readings = await readingsOf(cgroups.detail, targetsOf(members), members.filter(isRunning), ready);
      return inTurns(ready, (record) => sandboxMetrics(record, bySandbox.get(record.id) ?? [], readings));
    },
    descriptors: () => metricDescriptors(support),
    containerFilesystem: async () => {
      if (!writableLayers.separate) return undefined;
      const usages = (await layersOf(deps.containers())).filter((usage) => usage !== undefined);
      return layersTogether(usages, mountpoint, nowNs());
    },
    close: () => cgroups.close(),
  };
}

/** Returns the time in nanoseconds since 1970. */
const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;

function byId<Value>(
  items: readonly { readonly id: string }[],
  values: readonly Value[],
): ReadonlyMap<string, Value | undefined> {
  return new Map(items.map(({ id }, index) => [id, values[index]]));
}

/** Maps items without blocking the main thread. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  make: (item: Item) => Result,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % itemsAtOnce === 0) await nextTurn();
    results.push(make(item));
  }
  return results;
}

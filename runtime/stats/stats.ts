import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Kernel } from '../../base/kernel/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type {
  ContainerStats,
  FilesystemUsage,
  LinuxPodSandboxStats,
  MetricDescriptor,
  PodSandboxMetrics,
  PodSandboxStats,
} from '../cri/contract/contract.types.ts';
import type { Init } from '../cri/contract/init.ts';
import type { WritableLayers } from '../images/writable-layers.ts';
import { containerCgroup, processCgroup } from '../cgroups/cgroup-place.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { CgroupUsage } from './cgroup-reading.ts';
import { openCgroupStats } from './cgroup-stats.ts';
import type { CgroupTarget } from './cgroup-stats.types.ts';
import { metricDescriptors } from './metric-descriptors.ts';
import type { MetricSupport } from './metric-descriptors.ts';
import { containerMetrics, endedContainerMetrics, podMetrics } from './metrics.ts';
import { parseNetDevices } from './net-devices.ts';
import type { NetDevice } from './net-devices.ts';
import { cpuUsage, ioUsage, layerUsage, memoryUsage, networkUsage, swapUsage } from './usage-messages.ts';
import { createWritableLayers } from './writable-layers.ts';

/** What containers and pods use, as messages of the CRI: one per item, in the order of the items. */
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
}

/**
 * The number of pods whose network is read in one turn of the namespaces' Worker, so that a pod that starts
 * does not wait longer.
 */
const namespacesAtOnce = 16;
/** The number of items that are assembled before other work runs on the main thread. */
const itemsAtOnce = 16;

const unused: CgroupUsage = {
  at: 0n,
  cpu: { usageNs: 0 },
  memory: { usageBytes: 0, inactiveFileBytes: 0, rssBytes: 0, pageFaults: 0, majorPageFaults: 0 },
};

/**
 * Creates the statistics. Semantics: cri-api 0.37, ContainerStats, PodSandboxStats and the metrics. Where it
 * leaves a choice, the answer is containerd's.
 */
export function createStats(deps: StatsDeps): Stats {
  const { writableLayers, kernel } = deps;
  const layers = createWritableLayers(kernel);
  const support = metricSupport(deps.cgroups);
  const sandboxById = (): ReadonlyMap<string, SandboxRecord> =>
    new Map(deps.sandboxes().map((record) => [record.id, record]));

  const targetsOf = (records: readonly ContainerRecord[]): CgroupTarget[] =>
    containerTargets(records, sandboxById(), deps.runtimeKind);

  const cgroups = openCgroupStats({
    mounts: deps.cgroups,
    targets: () => {
      const running = deps.containers().filter((record) => record.phase === 'running');
      const ready = deps.sandboxes().filter((record) => record.phase === 'ready');
      return [...targetsOf(running), ...ready.map(sandboxTarget)];
    },
  });

  const layersOf = (records: readonly ContainerRecord[]) =>
    layers.usage(records.map(({ id }) => writableLayers.folder(id)));

  const networksOf = async (
    records: readonly SandboxRecord[],
  ): Promise<ReadonlyMap<string, readonly NetDevice[]>> => {
    const found = new Map<string, readonly NetDevice[]>();
    const own = records.flatMap(({ id, namespacesDir, config }) =>
      namespacesDir === undefined ||
      config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE
        ? []
        : [{ id, pin: join(namespacesDir, 'net') }],
    );
    for (let at = 0; at < own.length; at += namespacesAtOnce) {
      const some = own.slice(at, at + namespacesAtOnce);
      const texts = await kernel.readNetFiles(
        some.map(({ pin }) => pin),
        'dev',
      );
      some.forEach(({ id }, index) => {
        const text = texts[index];
        if (text !== undefined) found.set(id, parseNetDevices(text));
      });
    }
    return found;
  };

  const containersBySandbox = (): ReadonlyMap<string, readonly ContainerRecord[]> =>
    Map.groupBy(deps.containers(), (one) => one.sandboxId);

  const containerMessage = (
    record: ContainerRecord,
    reading: CgroupUsage | undefined,
    layer: Awaited<ReturnType<typeof layersOf>>[number],
  ): Init<ContainerStats> => ({
    attributes: attributesOf(record),
    ...(reading !== undefined && {
      cpu: cpuUsage(reading),
      memory: memoryUsage(reading),
      swap: swapUsage(reading),
      io: ioUsage(reading),
    }),
    ...(layer !== undefined && { writableLayer: layerUsage(writableLayers.mountpoint, layer) }),
  });

  return {
    ofContainers: async (records) => {
      const running = records.filter((record) => record.phase === 'running');
      const targets = targetsOf(running);
      const [readings, usages] = await Promise.all([cgroups.usage(targets), layersOf(records)]);
      const byId = new Map(targets.map(({ id }, index) => [id, readings[index]]));
      return inTurns(records, (record, index) =>
        containerMessage(record, byId.get(record.id), usages[index]),
      );
    },
    ofSandboxes: async (records) => {
      const ready = records.filter((record) => record.phase === 'ready');
      const bySandbox = containersBySandbox();
      const members = ready.flatMap((record) => bySandbox.get(record.id) ?? []);
      const targets = [
        ...ready.map(sandboxTarget),
        ...targetsOf(members.filter((record) => record.phase === 'running')),
      ];
      const [readings, usages, networks] = await Promise.all([
        cgroups.usage(targets),
        layersOf(members),
        networksOf(ready),
      ]);
      const readingById = new Map(targets.map(({ id }, index) => [id, readings[index]]));
      const layerById = new Map(members.map(({ id }, index) => [id, usages[index]]));
      const now = BigInt(Date.now()) * 1_000_000n;
      return inTurns(ready, (record) => {
        const containers = bySandbox.get(record.id) ?? [];
        // Before any process has run, the kernel may have no cgroup: nothing was used.
        const reading = readingById.get(record.id) ?? { ...unused, at: now };
        const devices = networks.get(record.id);
        const processCount = containers.reduce((sum, { id }) => sum + (readingById.get(id)?.tasks ?? 0), 0);
        const linux: Init<LinuxPodSandboxStats> = {
          cpu: cpuUsage(reading),
          memory: memoryUsage(reading),
          io: ioUsage(reading),
          process: { timestamp: reading.at, processCount: { value: processCount } },
          ...(devices !== undefined && { network: networkUsage(now, devices) }),
          containers: containers.map((one) =>
            containerMessage(one, readingById.get(one.id), layerById.get(one.id)),
          ),
        };
        return { attributes: attributesOf(record), linux };
      });
    },
    metricsOf: async (records) => {
      const ready = records.filter((record) => record.phase === 'ready');
      const bySandbox = containersBySandbox();
      const members = ready.flatMap((record) => bySandbox.get(record.id) ?? []).filter(hasRun);
      const running = members.filter((record) => record.phase === 'running');
      const targets = targetsOf(members);
      const [readings, usages, networks] = await Promise.all([
        cgroups.detail(targets),
        layersOf(running),
        networksOf(ready),
      ]);
      const readingById = new Map(targets.map(({ id }, index) => [id, readings[index]]));
      const layerById = new Map(running.map(({ id }, index) => [id, usages[index]]));
      const at = BigInt(Date.now()) * 1_000_000n;
      return inTurns(ready, (sandbox) => ({
        podSandboxId: sandbox.id,
        metrics: podMetrics(sandbox, at, networks.get(sandbox.id) ?? []),
        containerMetrics: (bySandbox.get(sandbox.id) ?? []).filter(hasRun).flatMap((record) => {
          const reading = readingById.get(record.id);
          const { id: containerId } = record;
          if (record.phase !== 'running')
            return [
              {
                containerId,
                metrics: endedContainerMetrics({ record, sandbox, at, oomKills: reading?.oomKills }),
              },
            ];
          // It has ended since.
          if (reading === undefined) return [];
          return [
            {
              containerId,
              metrics: containerMetrics({ record, sandbox, reading, layer: layerById.get(record.id) }),
            },
          ];
        }),
      }));
    },
    descriptors: () => metricDescriptors(support),
    containerFilesystem: async () => {
      const { mountpoint, separate } = writableLayers;
      if (!separate) return undefined;
      const usages = (await layersOf(deps.containers())).filter((usage) => usage !== undefined);
      const usedBytes = usages.reduce((sum, usage) => sum + usage.usedBytes, 0);
      const inodesUsed = usages.reduce((sum, usage) => sum + usage.inodesUsed, 0);
      const at = usages.reduce(
        (oldest, usage) => (usage.at < oldest ? usage.at : oldest),
        BigInt(Date.now()) * 1_000_000n,
      );
      return {
        timestamp: at,
        fsId: { mountpoint },
        usedBytes: { value: usedBytes },
        inodesUsed: { value: inodesUsed },
      };
    },
    close: () => cgroups.close(),
  };
}

function sandboxTarget({ id, cgroupParent }: SandboxRecord): CgroupTarget {
  return { id, cgroup: cgroupParent };
}

function containerTargets(
  records: readonly ContainerRecord[],
  sandboxes: ReadonlyMap<string, SandboxRecord>,
  runtimeKind: StatsDeps['runtimeKind'],
): CgroupTarget[] {
  return records.flatMap(({ id, sandboxId, init, phase, runtimeHandler }) => {
    const sandbox = sandboxes.get(sandboxId);
    if (sandbox === undefined) return [];
    return [
      {
        id,
        cgroup: processCgroup(containerCgroup(sandbox.cgroupParent, id), runtimeKind(runtimeHandler)),
        ...(phase === 'running' && init !== undefined && { pid: init.pid }),
      },
    ];
  });
}

function hasRun({ phase, startedAt }: ContainerRecord): boolean {
  return phase === 'running' || (phase === 'exited' && startedAt !== '0');
}

function attributesOf({ id, config: { metadata, labels, annotations } }: ContainerRecord | SandboxRecord) {
  return { id, metadata, labels, annotations };
}

/** Maps items without blocking the main thread. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  make: (item: Item, index: number) => Result,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % itemsAtOnce === 0) await nextTurn();
    results.push(make(item, index));
  }
  return results;
}

/** Returns the metrics that this kernel supports. */
function metricSupport({ version, roots }: CgroupMounts): MetricSupport {
  const controllers = (): string[] => {
    try {
      return readFileSync(`${roots[0] ?? ''}/cgroup.controllers`, 'utf8')
        .trim()
        .split(' ');
    } catch {
      return [];
    }
  };
  return {
    pressure: version === 2 && existsSync('/proc/pressure/cpu'),
    hugetlb:
      version === 2
        ? controllers().includes('hugetlb')
        : roots.some((root) => root.split(/[/,]/).includes('hugetlb')),
    hugetlbMaximum: version === 1,
  };
}

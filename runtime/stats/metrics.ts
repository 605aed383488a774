import type { ContainerRecord } from '../containers/record.ts';
import type { Metric } from '../cri/contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { workingSetOf } from './cgroup-reading.ts';
import type { CgroupDetail } from './cgroup-reading.ts';
import type { Pressure } from './cgroup-values.ts';
import { metricKinds } from './metric-descriptors.ts';
import type { MetricName } from './metric-descriptors.ts';
import type { NetDevice } from './net-devices.ts';
import type { LayerUsage } from './writable-layers.ts';

/**
 * The file system of a container is its root, whatever device holds the layers (the name that containerd
 * uses).
 */
const rootDevice = '/';

/** Adds a metric of one pod or container, by name, value and the labels that follow the common ones. */
type Add = (name: MetricName, value: number | undefined, ...labels: string[]) => void;

function collect(at: bigint, common: readonly string[], fill: (add: Add) => void): Init<Metric>[] {
  const metrics: Init<Metric>[] = [];
  fill((name, value, ...labels) => {
    if (value === undefined) return;
    const { type } = metricKinds[name];
    metrics.push({
      name,
      timestamp: at,
      metricType: type,
      labelValues: [...common, ...labels],
      value: { value: Math.floor(value) },
      ...(!Number.isInteger(value) && { doubleValue: { value } }),
    });
  });
  return metrics;
}

/** A kubelet that knows no fractions reads the whole seconds beside them. */
function seconds(nanoseconds: number): number {
  return nanoseconds / 1e9;
}

/** Returns a pod's own metrics, beyond its containers: the counters of its interfaces. */
export function podMetrics(
  sandbox: SandboxRecord,
  at: bigint,
  devices: readonly NetDevice[],
): Init<Metric>[] {
  const { name = '', namespace = '' } = sandbox.config.metadata ?? {};
  return collect(at, [name, namespace, '', sandbox.id, ''], (add) => {
    for (const device of devices) {
      add('container_network_receive_bytes_total', device.rxBytes, device.name);
      add('container_network_receive_packets_total', device.rxPackets, device.name);
      add('container_network_receive_packets_dropped_total', device.rxDropped, device.name);
      add('container_network_receive_errors_total', device.rxErrors, device.name);
      add('container_network_transmit_bytes_total', device.txBytes, device.name);
      add('container_network_transmit_packets_total', device.txPackets, device.name);
      add('container_network_transmit_packets_dropped_total', device.txDropped, device.name);
      add('container_network_transmit_errors_total', device.txErrors, device.name);
    }
  });
}

function labelsOf(record: ContainerRecord, sandbox: SandboxRecord): string[] {
  const { name = '', namespace = '' } = sandbox.config.metadata ?? {};
  const { metadata, image } = record.config;
  return [
    name,
    namespace,
    metadata?.name ?? '',
    record.id,
    image?.userSpecifiedImage || image?.image || record.imageId,
  ];
}

/** Returns the metrics of a running container. */
export function containerMetrics(input: {
  readonly record: ContainerRecord;
  readonly sandbox: SandboxRecord;
  readonly reading: CgroupDetail;
  readonly layer: LayerUsage | undefined;
}): Init<Metric>[] {
  const { record, sandbox, reading, layer } = input;
  return collect(reading.at, labelsOf(record, sandbox), (add) => {
    add('container_last_seen', Number(reading.at / 1_000_000_000n));
    add('container_start_time_seconds', Number(BigInt(record.startedAt) / 1_000_000_000n));
    addCpu(add, reading);
    addMemory(add, reading);
    addPressure(add, 'cpu', reading.cpu?.pressure);
    addPressure(add, 'memory', reading.memory?.pressure);
    addPressure(add, 'io', reading.ioPressure);
    addBlockIo(add, reading);
    if (layer !== undefined) {
      add('container_fs_usage_bytes', layer.usedBytes, rootDevice);
      add('container_fs_limit_bytes', layer.filesystem.bytes, rootDevice);
      add('container_fs_inodes_total', layer.filesystem.inodes, rootDevice);
      add('container_fs_inodes_free', layer.filesystem.freeInodes, rootDevice);
    }
    for (const { pageSize, usageBytes, maxUsageBytes } of reading.hugepages) {
      add('container_hugetlb_usage_bytes', usageBytes, pageSize);
      add('container_hugetlb_max_usage_bytes', maxUsageBytes, pageSize);
    }
    add('container_processes', reading.processes?.processes);
    add('container_threads', reading.tasks);
    if (reading.tasks !== undefined) add('container_threads_max', reading.tasksLimit ?? 0);
    add('container_file_descriptors', reading.processes?.descriptors);
    add('container_sockets', reading.processes?.sockets);
    add('container_ulimits_soft', reading.processes?.openFilesLimit, 'max_open_files');
    addSpec(add, record, reading);
  });
}

/**
 * Returns the metrics of a container that has ended: when it ran and what killed it. An out-of-memory kill
 * usually ends the container, so its counter cannot be read at another time.
 */
export function endedContainerMetrics(input: {
  readonly record: ContainerRecord;
  readonly sandbox: SandboxRecord;
  readonly at: bigint;
  /** The count of its cgroup, while that exists. */
  readonly oomKills: number | undefined;
}): Init<Metric>[] {
  const { record, sandbox, at, oomKills = 0 } = input;
  return collect(at, labelsOf(record, sandbox), (add) => {
    add('container_start_time_seconds', Number(BigInt(record.startedAt) / 1_000_000_000n));
    add('container_oom_events_total', Math.max(oomKills, record.reason === 'OOMKilled' ? 1 : 0));
  });
}

function addCpu(add: Add, { cpu, cpuTimes }: CgroupDetail): void {
  if (cpu !== undefined) add('container_cpu_usage_seconds_total', seconds(cpu.usageNs), 'total');
  if (cpuTimes === undefined) return;
  add('container_cpu_user_seconds_total', seconds(cpuTimes.userNs));
  add('container_cpu_system_seconds_total', seconds(cpuTimes.systemNs));
  add('container_cpu_cfs_periods_total', cpuTimes.periods);
  add('container_cpu_cfs_throttled_periods_total', cpuTimes.throttledPeriods);
  add('container_cpu_cfs_throttled_seconds_total', seconds(cpuTimes.throttledNs));
}

function addMemory(add: Add, { memory, memoryParts, swap, oomKills }: CgroupDetail): void {
  add('container_oom_events_total', oomKills);
  if (memory === undefined || memoryParts === undefined) return;
  add('container_memory_usage_bytes', memory.usageBytes);
  add('container_memory_working_set_bytes', workingSetOf(memory));
  add('container_memory_max_usage_bytes', memoryParts.maxUsageBytes);
  add('container_memory_rss', memory.rssBytes);
  add('container_memory_cache', memoryParts.cacheBytes);
  add('container_memory_mapped_file', memoryParts.mappedFileBytes);
  add('container_memory_swap', swap?.usageBytes ?? 0);
  add('container_memory_kernel_usage', memoryParts.kernelBytes);
  add('container_memory_failcnt', memoryParts.limitHits);
  add('container_memory_total_active_file_bytes', memoryParts.activeFileBytes);
  add('container_memory_total_inactive_file_bytes', memory.inactiveFileBytes);
  add('container_memory_failures_total', memoryParts.ownPageFaults, 'pgfault', 'container');
  add('container_memory_failures_total', memory.pageFaults, 'pgfault', 'hierarchy');
  add('container_memory_failures_total', memoryParts.ownMajorPageFaults, 'pgmajfault', 'container');
  add('container_memory_failures_total', memory.majorPageFaults, 'pgmajfault', 'hierarchy');
}

function addPressure(add: Add, kind: 'cpu' | 'memory' | 'io', pressure: Pressure | undefined): void {
  if (pressure?.some !== undefined)
    add(`container_pressure_${kind}_waiting_seconds_total`, seconds(pressure.some.totalNs));
  if (pressure?.full !== undefined)
    add(`container_pressure_${kind}_stalled_seconds_total`, seconds(pressure.full.totalNs));
}

function addBlockIo(add: Add, { blockIo }: CgroupDetail): void {
  for (const { device, name, readBytes, writtenBytes, reads, writes } of blockIo) {
    const [major = '', minor = ''] = device.split(':');
    add('container_fs_reads_bytes_total', readBytes, name);
    add('container_fs_reads_total', reads, name);
    add('container_fs_writes_bytes_total', writtenBytes, name);
    add('container_fs_writes_total', writes, name);
    add('container_blkio_device_usage_total', readBytes, name, major, minor, 'Read');
    add('container_blkio_device_usage_total', writtenBytes, name, major, minor, 'Write');
  }
}

/** The kernel's defaults: sched-design-CFS.rst, sched-bwc.rst. */
const kernelShares = 1024;
const kernelPeriod = 100_000;

/**
 * Adds the limits in force. CPU as in the request (and its updates), in version 1's units; memory as the
 * kernel has it.
 */
function addSpec(add: Add, record: ContainerRecord, { memory, swap }: CgroupDetail): void {
  const asked = record.config.linux?.resources;
  add('container_spec_cpu_period', asked?.cpuPeriod || kernelPeriod);
  add('container_spec_cpu_shares', asked?.cpuShares || kernelShares);
  if (asked !== undefined && asked.cpuQuota > 0) add('container_spec_cpu_quota', asked.cpuQuota);
  add('container_spec_memory_limit_bytes', memory?.limitBytes ?? 0);
  const reserved = asked?.unified['memory.min'] ?? '';
  add('container_spec_memory_reservation_limit_bytes', /^\d{1,18}$/.test(reserved) ? Number(reserved) : 0);
  const both =
    memory?.limitBytes === undefined || swap?.limitBytes === undefined
      ? 0
      : memory.limitBytes + swap.limitBytes;
  add('container_spec_memory_swap_limit_bytes', both);
}

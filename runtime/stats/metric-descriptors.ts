import { MetricType } from '../cri/contract/contract.types.ts';
import type { MetricDescriptor } from '../cri/contract/contract.types.ts';

/**
 * The labels of every metric, in this order (containerd's). A pod's own metrics leave `container` and `image`
 * empty.
 */
export const baseLabels = ['pod', 'namespace', 'container', 'id', 'image'] as const;

interface Kind {
  readonly help: string;
  readonly type: MetricType;
  /** Labels after {@link baseLabels}. */
  readonly labels: readonly string[];
}

const counter = (help: string, ...labels: string[]): Kind => ({ help, type: MetricType.COUNTER, labels });
const gauge = (help: string, ...labels: string[]): Kind => ({ help, type: MetricType.GAUGE, labels });

/**
 * cAdvisor's names, texts and labels (docs/storage/prometheus.md there), as in a kubelet's /metrics/cadvisor,
 * so that dashboards keep working. Seconds have fractions for kubelets that read `double_value` (cri-api
 * 0.38), and are whole seconds for others.
 */
export const metricKinds = {
  container_cpu_usage_seconds_total: counter('Cumulative cpu time consumed in seconds.', 'cpu'),
  container_cpu_user_seconds_total: counter('Cumulative user cpu time consumed in seconds.'),
  container_cpu_system_seconds_total: counter('Cumulative system cpu time consumed in seconds.'),
  container_cpu_cfs_periods_total: counter('Number of elapsed enforcement period intervals.'),
  container_cpu_cfs_throttled_periods_total: counter('Number of throttled period intervals.'),
  container_cpu_cfs_throttled_seconds_total: counter('Total time duration the container has been throttled.'),
  container_memory_usage_bytes: gauge(
    'Current memory usage in bytes, including all memory regardless of when it was accessed.',
  ),
  container_memory_working_set_bytes: gauge('Current working set in bytes.'),
  container_memory_max_usage_bytes: gauge('Maximum memory usage recorded in bytes.'),
  container_memory_rss: gauge('Size of RSS in bytes.'),
  container_memory_cache: gauge('Number of bytes of page cache memory.'),
  container_memory_mapped_file: gauge('Size of memory mapped files in bytes.'),
  container_memory_swap: gauge('Container swap usage in bytes.'),
  container_memory_kernel_usage: gauge('Size of kernel memory allocated in bytes.'),
  container_memory_failcnt: counter('Number of memory usage hits limits.'),
  container_memory_total_active_file_bytes: gauge('Current total active file in bytes.'),
  container_memory_total_inactive_file_bytes: gauge('Current total inactive file in bytes.'),
  container_memory_failures_total: counter(
    'Cumulative count of memory allocation failures.',
    'failure_type',
    'scope',
  ),
  container_oom_events_total: counter('Count of out of memory events observed for the container.'),
  container_fs_usage_bytes: gauge(
    'Number of bytes that are consumed by the container on this filesystem.',
    'device',
  ),
  container_fs_limit_bytes: gauge(
    'Number of bytes that can be consumed by the container on this filesystem.',
    'device',
  ),
  container_fs_inodes_total: gauge('Number of Inodes.', 'device'),
  container_fs_inodes_free: gauge('Number of available Inodes.', 'device'),
  container_fs_reads_bytes_total: counter('Cumulative count of bytes read.', 'device'),
  container_fs_reads_total: counter('Cumulative count of reads completed.', 'device'),
  container_fs_writes_bytes_total: counter('Cumulative count of bytes written.', 'device'),
  container_fs_writes_total: counter('Cumulative count of writes completed.', 'device'),
  container_blkio_device_usage_total: counter(
    'Blkio device bytes usage.',
    'device',
    'major',
    'minor',
    'operation',
  ),
  container_hugetlb_usage_bytes: gauge('Current hugepage usage in bytes.', 'pagesize'),
  container_hugetlb_max_usage_bytes: gauge('Maximum hugepage usage recorded in bytes.', 'pagesize'),
  container_network_receive_bytes_total: counter('Cumulative count of bytes received.', 'interface'),
  container_network_receive_packets_total: counter('Cumulative count of packets received.', 'interface'),
  container_network_receive_packets_dropped_total: counter(
    'Cumulative count of packets dropped while receiving.',
    'interface',
  ),
  container_network_receive_errors_total: counter(
    'Cumulative count of errors encountered while receiving.',
    'interface',
  ),
  container_network_transmit_bytes_total: counter('Cumulative count of bytes transmitted.', 'interface'),
  container_network_transmit_packets_total: counter('Cumulative count of packets transmitted.', 'interface'),
  container_network_transmit_packets_dropped_total: counter(
    'Cumulative count of packets dropped while transmitting.',
    'interface',
  ),
  container_network_transmit_errors_total: counter(
    'Cumulative count of errors encountered while transmitting.',
    'interface',
  ),
  container_processes: gauge('Number of processes running inside the container.'),
  container_threads: gauge('Number of threads running inside the container.'),
  container_threads_max: gauge(
    'Maximum number of threads allowed inside the container, infinity if value is zero.',
  ),
  container_file_descriptors: gauge('Number of open file descriptors for the container.'),
  container_sockets: gauge('Number of open sockets for the container.'),
  container_ulimits_soft: gauge(
    'Soft ulimit values for the container root process; absent if there is no limit.',
    'ulimit',
  ),
  container_last_seen: gauge('Last time a container was seen by the exporter.'),
  container_start_time_seconds: gauge('Start time of the container since unix epoch in seconds.'),
  container_spec_cpu_period: gauge('CPU period of the container.'),
  container_spec_cpu_quota: gauge('CPU quota of the container; absent if there is no quota.'),
  container_spec_cpu_shares: gauge('CPU share of the container.'),
  container_spec_memory_limit_bytes: gauge('Memory limit for the container; 0 if there is no limit.'),
  container_spec_memory_reservation_limit_bytes: gauge(
    'Memory reservation limit for the container; 0 if there is no limit.',
  ),
  container_spec_memory_swap_limit_bytes: gauge(
    'Memory swap limit for the container, including memory; 0 if there is no limit.',
  ),
  container_pressure_cpu_waiting_seconds_total: counter(
    'Total time duration tasks in the container have waited due to CPU congestion.',
  ),
  container_pressure_cpu_stalled_seconds_total: counter(
    'Total time duration no tasks in the container could make progress due to CPU congestion.',
  ),
  container_pressure_memory_waiting_seconds_total: counter(
    'Total time duration tasks in the container have waited due to memory congestion.',
  ),
  container_pressure_memory_stalled_seconds_total: counter(
    'Total time duration no tasks in the container could make progress due to memory congestion.',
  ),
  container_pressure_io_waiting_seconds_total: counter(
    'Total time duration tasks in the container have waited due to IO congestion.',
  ),
  container_pressure_io_stalled_seconds_total: counter(
    'Total time duration no tasks in the container could make progress due to IO congestion.',
  ),
} as const satisfies Readonly<Record<string, Kind>>;

export type MetricName = keyof typeof metricKinds;

/**
 * Features that this kernel may lack. A metric without its feature is never returned, so it is not described
 * either.
 */
export interface MetricSupport {
  /** Pressure per cgroup: version 2 of a kernel that records it. */
  readonly pressure: boolean;
  readonly hugetlb: boolean;
  /** The highest hugepage usage: version 1 only. */
  readonly hugetlbMaximum: boolean;
}

/** Returns the cri-api MetricDescriptor of every metric that may be returned on this node. */
export function metricDescriptors(support: MetricSupport): MetricDescriptor[] {
  const given = (name: string): boolean =>
    name.startsWith('container_pressure_')
      ? support.pressure
      : name === 'container_hugetlb_max_usage_bytes'
        ? support.hugetlb && support.hugetlbMaximum
        : !name.startsWith('container_hugetlb_') || support.hugetlb;
  return Object.entries(metricKinds)
    .filter(([name]) => given(name))
    .map(([name, { help, labels }]) => ({ name, help, labelKeys: [...baseLabels, ...labels] }));
}

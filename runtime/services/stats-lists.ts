import type { ContainerService } from '../containers/container-service.ts';
import type {
  ContainerStats,
  ContainerStatsFilter,
  PodSandboxMetrics,
  PodSandboxStats,
  PodSandboxStatsFilter,
} from '../cri/contract/contract.types.ts';
import { selectContainers, selectPodSandboxes } from '../cri/filters.ts';
import type { Init } from '../../base/protobuf/index.ts';
import type { SandboxService } from '../pods/sandbox-service.ts';
import type { Stats } from '../stats/stats.ts';
import { containerItem } from './container-messages.ts';
import { sandboxItem } from './sandbox-messages.ts';

/** The lists of statistics for the unary calls and the streams. Ids of filters may be prefixes. */
export interface StatsLists {
  /** Includes containers that do not run: their writable layer exists until they are removed. */
  containerStats(filter: ContainerStatsFilter | undefined): Promise<Init<ContainerStats>[]>;
  /** Only pods that are ready. */
  podSandboxStats(filter: PodSandboxStatsFilter | undefined): Promise<Init<PodSandboxStats>[]>;
  podSandboxMetrics(): Promise<Init<PodSandboxMetrics>[]>;
}

export function createStatsLists(parts: {
  readonly stats: Stats;
  readonly containers: Pick<ContainerService, 'list'>;
  readonly sandboxes: Pick<SandboxService, 'list'>;
}): StatsLists {
  const { stats, containers, sandboxes } = parts;
  return {
    containerStats: (filter) => {
      const records = containers.list();
      const chosen = new Set(selectContainers(records.map(containerItem), filter).map(({ id }) => id));
      return stats.ofContainers(records.filter(({ id }) => chosen.has(id)));
    },
    podSandboxStats: (filter) => {
      const records = sandboxes.list();
      const chosen = new Set(selectPodSandboxes(records.map(sandboxItem), filter).map(({ id }) => id));
      return stats.ofSandboxes(records.filter(({ id }) => chosen.has(id)));
    },
    podSandboxMetrics: () => stats.metricsOf(sandboxes.list()),
  };
}

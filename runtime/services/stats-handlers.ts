import { PortcullisError } from '../../base/errors/index.ts';
import type { ContainerService } from '../containers/container-service.ts';
import { criCodec } from '../cri/contract/services.ts';
import type {
  ListContainerStatsResponse,
  ListPodSandboxMetricsResponse,
  ListPodSandboxStatsResponse,
  StreamContainerStatsResponse,
  StreamPodSandboxMetricsResponse,
  StreamPodSandboxStatsResponse,
} from '../cri/contract/contract.types.ts';
import type { RuntimeServiceHandlers } from '../cri/handlers.ts';
import type { SandboxService } from '../pods/sandbox-service.ts';
import type { Stats } from '../stats/stats.ts';
import type { StatsLists } from './stats-lists.ts';
import { inChunks } from './stream-list-handlers.ts';

type Answered =
  | 'containerStats'
  | 'listContainerStats'
  | 'podSandboxStats'
  | 'listPodSandboxStats'
  | 'listMetricDescriptors'
  | 'listPodSandboxMetrics';

type Streamed = 'streamContainerStats' | 'streamPodSandboxStats' | 'streamPodSandboxMetrics';

const containerList = criCodec<ListContainerStatsResponse>('ListContainerStatsResponse');
const sandboxList = criCodec<ListPodSandboxStatsResponse>('ListPodSandboxStatsResponse');
const metricsList = criCodec<ListPodSandboxMetricsResponse>('ListPodSandboxMetricsResponse');

const containerStream = criCodec<StreamContainerStatsResponse>('StreamContainerStatsResponse');
const sandboxStream = criCodec<StreamPodSandboxStatsResponse>('StreamPodSandboxStatsResponse');
const metricsStream = criCodec<StreamPodSandboxMetricsResponse>('StreamPodSandboxMetricsResponse');

/**
 * Creates the RuntimeService handlers for the usage of pods and containers. Semantics: cri-api 0.37
 * RuntimeService.
 */
export function createStatsHandlers(parts: {
  readonly stats: Stats;
  readonly lists: StatsLists;
  readonly containers: Pick<ContainerService, 'require'>;
  readonly sandboxes: Pick<SandboxService, 'require'>;
}): Pick<RuntimeServiceHandlers, Answered> {
  const { stats, lists, containers, sandboxes } = parts;
  return {
    containerStats: async ({ containerId }) => {
      const [found] = await stats.ofContainers([containers.require(containerId)]);
      return { stats: found };
    },
    listContainerStats: async ({ filter }) =>
      whole(inChunks(await lists.containerStats(filter), (items) => containerList.encode({ stats: items }))),
    podSandboxStats: async ({ podSandboxId }) => {
      const record = sandboxes.require(podSandboxId);
      const [found] = await stats.ofSandboxes([record]);
      if (found === undefined) throw notRunning(record.id, record.phase);
      return { stats: found };
    },
    listPodSandboxStats: async ({ filter }) =>
      whole(inChunks(await lists.podSandboxStats(filter), (items) => sandboxList.encode({ stats: items }))),
    listMetricDescriptors: () => Promise.resolve({ descriptors: stats.descriptors() }),
    listPodSandboxMetrics: async () =>
      whole(inChunks(await lists.podSandboxMetrics(), (items) => metricsList.encode({ podMetrics: items }))),
  };
}

/** The streams of ListContainerStats, ListPodSandboxStats and ListPodSandboxMetrics. */
export function createStatsStreams(lists: StatsLists): Pick<RuntimeServiceHandlers, Streamed> {
  return {
    streamContainerStats: async function* ({ filter }) {
      yield* inChunks(await lists.containerStats(filter), (items) =>
        containerStream.encode({ containerStats: items }),
      );
    },
    streamPodSandboxStats: async function* ({ filter }) {
      yield* inChunks(await lists.podSandboxStats(filter), (items) =>
        sandboxStream.encode({ podSandboxStats: items }),
      );
    },
    streamPodSandboxMetrics: async function* () {
      yield* inChunks(await lists.podSandboxMetrics(), (items) =>
        metricsStream.encode({ podSandboxMetrics: items }),
      );
    },
  };
}

/**
 * Concatenates encoded messages of one list: their bytes in a row are the message of the whole list
 * (protobuf, "Last One Wins").
 */
async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const encoded: Uint8Array[] = [];
  for await (const chunk of chunks) encoded.push(chunk);
  return Buffer.concat(encoded);
}

/** As in containerd: the pod is known, but it has no statistics. */
function notRunning(id: string, phase: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_NO_POD_STATS',
    kind: 'unavailable',
    attempted: 'read the statistics of pod sandbox',
    on: id.slice(0, 13),
    why: `it is ${phase}`,
    fix: 'request statistics while the pod is ready',
  });
}

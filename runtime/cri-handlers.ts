import { join } from 'node:path';
import type { CriServerOptions } from './cri/server.ts';
import { delegatesToNamespaces } from './cgroups/delegation.ts';
import type { DaemonConfig } from './config/types.ts';
import { bundleIn } from './containers/effects/effects.ts';
import type { EventHub } from './events/hub.ts';
import type { ImageStore } from './images/index.ts';
import type { DaemonNetwork } from './network.ts';
import { databaseAnswers } from './observability/liveness.ts';
import type { RuntimeHandler } from './oci/runtime-handler.ts';
import type { PodSide } from './pod-side.ts';
import { createPodResources } from './pods/resources.ts';
import type { SandboxRecord } from './pods/record.ts';
import type { WatchedRecords } from './state/records.ts';
import type { Unsettled } from './state/settle.ts';
import type { Stats } from './stats/stats.ts';
import type { StreamingService } from './streaming/streaming-service.ts';
import { runtimeVersion } from './version.ts';
import type { Logger } from '../base/log/index.ts';
import type { Database } from '../base/storage/index.ts';
import { createEventHandlers } from './services/event-handlers.ts';
import { createImageHandlers } from './services/image-handlers.ts';
import { findObstacle, seldom } from './services/readiness.ts';
import { createReport } from './services/report.ts';
import type { PolicyState } from './services/report.ts';
import { createResourceHandlers } from './services/resource-handlers.ts';
import { createRuntimeHandlers } from './services/runtime-handlers.ts';
import { createStatsHandlers, createStatsStreams } from './services/stats-handlers.ts';
import { createStatsLists } from './services/stats-lists.ts';
import { createImageListStream, createRuntimeListStreams } from './services/stream-list-handlers.ts';
import { createStreamingHandlers } from './services/streaming-handlers.ts';
import type { VerboseInfo } from './services/verbose-status.ts';

export interface CriHandlerDeps {
  readonly config: DaemonConfig;
  readonly database: Pick<Database, 'write'>;
  readonly pods: PodSide;
  readonly sandboxRecords: WatchedRecords<SandboxRecord>;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly images: ImageStore;
  readonly network: DaemonNetwork;
  readonly policy: PolicyState;
  readonly enforcement: Parameters<typeof createReport>[0]['enforcement'];
  readonly stats: Stats;
  readonly events: EventHub;
  readonly streaming: StreamingService;
  readonly verbose: VerboseInfo;
  /** Clean-up actions of the start that failed. */
  readonly leftovers: readonly Unsettled[];
  /** Folder of the sockets for attach. */
  readonly attachFolder: string;
  readonly log: Logger;
}

/** Returns the handlers of all RPCs of both CRI services. */
export function createCriHandlers(
  deps: CriHandlerDeps,
): Pick<CriServerOptions, 'runtimeService' | 'imageService'> {
  const {
    config,
    pods,
    sandboxRecords,
    handlers,
    images,
    network,
    policy,
    enforcement,
    stats,
    events,
    streaming,
    verbose,
    log,
  } = deps;
  const { containers, sandboxes, cgroups, cgroupDriver, conmon, features, lock, pool, probe } = pods;
  const statsLists = createStatsLists({ stats, containers, sandboxes });
  const podResources = createPodResources({
    records: sandboxRecords,
    require: sandboxes.require,
    lock,
    cgroups,
  });
  const resourceCalls = createResourceHandlers({
    resources: pods.nri?.podResources(podResources) ?? podResources,
    sandboxes,
    containers,
    checkpoints: config.checkpoint.enabled ? pods.checkpoints : undefined,
    reportPodCidrs: network.nodeNetwork.runtimeConfig,
    log,
  });
  const write = seldom(() => databaseAnswers(deps.database), join(config.root, 'state.db'));
  return {
    runtimeService: {
      ...createRuntimeHandlers({
        version: runtimeVersion,
        cgroupDriver,
        sandboxes,
        containers,
        verbose,
        report: createReport({
          network,
          nodeNetwork: network.nodeNetwork.status,
          policy,
          obstacle: (verbose) => findObstacle(conmon, () => write(verbose)),
          enforcement,
          handlers: [...new Set(handlers.values())],
          features: probe,
          defaultRuntime: config.defaultRuntime,
          writableCgroups: () => delegatesToNamespaces(cgroups),
          details: () => ({
            root: config.root,
            state: config.state,
            cniConfDir: config.cni.confDir,
            cgroups: { ...cgroups, driver: cgroupDriver },
            kernel: features,
            namespacePool: pool.size,
            unmonitored: containers.unmonitored(),
            leftovers: deps.leftovers,
            podCidrs: resourceCalls.config.podCidrs(),
            storage: { ...config.storage, ...images.layerForm },
            writableLayer: { ...config.writableLayer, enforced: images.limitsWrites },
          }),
        }),
      }),
      ...createRuntimeListStreams({ sandboxes, containers }),
      ...resourceCalls.handlers,
      ...createStatsHandlers({ stats, lists: statsLists, containers, sandboxes }),
      ...createStatsStreams(statsLists),
      ...createEventHandlers(events),
      ...createStreamingHandlers({
        streaming,
        sandboxes,
        containers,
        handlers,
        conmon,
        bundle: (id) => bundleIn(config.state, id),
        attachFolder: deps.attachFolder,
      }),
    },
    imageService: {
      ...createImageHandlers(images, stats.containerFilesystem, verbose, (name) => handlers.has(name)),
      ...createImageListStream(images),
    },
  };
}

import { join } from 'node:path';
import { findVerdict } from '../trust/verdict-log/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { createCriHandlers } from './cri-handlers.ts';
import { createCriServer } from './cri/server.ts';
import type { CriServer } from './cri/server.ts';
import type { DaemonRecords } from './daemon-records.ts';
import { createEventHub } from './events/hub.ts';
import type { EventHub } from './events/hub.ts';
import { writableLayersOf } from './images/writable-layers.ts';
import { readContainerSpec } from './oci/container-spec.ts';
import type { ImageSide } from './image-side.ts';
import type { Observability } from './observability/observability.ts';
import type { OpenNode } from './open-node.ts';
import type { PodSide } from './pod-side.ts';
import type { PolicySide } from './policy-side.ts';
import { encodeEvent } from './services/event-handlers.ts';
import { createVerboseInfo } from './services/verbose-status.ts';
import type { Unsettled } from './state/settle.ts';
import { bundleIn } from './containers/effects/effects.ts';
import { createStats } from './stats/stats.ts';
import type { Stats } from './stats/stats.ts';
import { openStreamingService } from './streaming/streaming-service.ts';
import type { StreamingService } from './streaming/streaming-service.ts';

/** Services that the CRI calls need besides pods and images. */
export interface CriServices {
  readonly events: EventHub;
  readonly stats: Stats;
  readonly streaming: StreamingService;
}

/** @throws the errors of {@link openStreamingService} */
export async function openCriServices(
  config: DaemonConfig,
  { kernel, handlers, folders, log }: Pick<OpenNode, 'kernel' | 'handlers' | 'folders' | 'log'>,
  { sandboxRecords, containerRecords }: DaemonRecords,
  { cgroups, execScopes, containers, sandboxes }: PodSide,
): Promise<CriServices> {
  const events = createEventHub({
    sandboxes: sandboxRecords,
    containers: containerRecords,
    encode: encodeEvent,
    log,
  });
  const stats = createStats({
    cgroups,
    kernel,
    writableLayers: writableLayersOf(join(config.root, 'images')),
    containers: containers.list,
    sandboxes: sandboxes.list,
    runtimeKind: (name) => handlers.get(name)?.kind,
    taskUsage: ({ id, runtimeHandler }) => {
      const handler = handlers.get(runtimeHandler);
      return handler?.guestKernel && handler.tasks?.usage(id, bundleIn(config.state, id));
    },
  });
  const streaming = await openStreamingService({
    options: config.streaming,
    scopes: execScopes,
    socketFolder: folders.attach,
    log: log.child({ component: 'streaming' }),
  });
  return { events, stats, streaming };
}

export interface CriSideDeps extends CriServices {
  readonly node: OpenNode;
  readonly records: DaemonRecords;
  readonly pods: PodSide;
  readonly images: ImageSide['images'];
  readonly policySide: PolicySide;
  readonly observability: Pick<Observability, 'calls'>;
  /** Clean-up actions of the start that failed. */
  readonly leftovers: readonly Unsettled[];
}

/** Answers CRI calls from now on. @throws the errors of {@link createCriServer} */
export async function serveCri(config: DaemonConfig, deps: CriSideDeps): Promise<CriServer> {
  const { events, stats, streaming, pods, images, leftovers, observability } = deps;
  const { database, handlers, policy, policyDelivery, clusterPolicy, network, folders, log } = deps.node;
  const { redecision, enforcement, renewals } = deps.policySide;
  const { sandboxRecords } = deps.records;
  const verbose = createVerboseInfo({
    outOfPolicy: redecision.of,
    isUnmonitored: (id) => pods.containers.unmonitored().includes(id),
    findVerdict: (id) => findVerdict(database, id),
    runtimeSpec: (id) => readContainerSpec(bundleIn(config.state, id), id).catch(() => undefined),
    linkState: (id) => network.linkState(id),
    policyRevision: () => policy.current()?.revision,
  });
  return createCriServer({
    socketPath: config.socket,
    peers: config.peers,
    observers: observability.calls,
    log: log.child({ component: 'cri' }),
    ...createCriHandlers({
      ...{ config, database, pods, sandboxRecords, handlers, images, network },
      ...{ stats, events, streaming, verbose, leftovers, log },
      policy: {
        ...policy,
        trouble: renewals.trouble,
        following: () => ({ subscription: policyDelivery?.status(), cluster: clusterPolicy?.status() }),
      },
      enforcement: enforcement.state,
      attachFolder: folders.attach,
    }),
  });
}

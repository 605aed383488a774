import { bundleVerifications } from '../trust/verdict/index.ts';
import type { DaemonConfig } from './config/types.ts';
import type { EventHub } from './events/hub.ts';
import type { ImageSide } from './image-side.ts';
import type { NetworkSide } from './network-side.ts';
import { countByVerdict, networkFacts, policyFacts, recordFacts } from './observability/facts.ts';
import type { DaemonFacts } from './observability/facts.ts';
import type { OpenNode } from './open-node.ts';
import type { PodSide } from './pod-side.ts';
import type { PolicySide } from './policy-side.ts';
import type { DaemonRecords } from './daemon-records.ts';
import { runtimeVersion } from './version.ts';

/** The parts of the daemon that are opened after its metrics. */
export interface LaterDeps {
  readonly images: Pick<ImageSide['images'], 'list' | 'usage' | 'pulls'>;
  readonly pods: Pick<PodSide, 'containers' | 'pool'>;
  readonly policySide: Pick<PolicySide, 'redecision' | 'enforcement' | 'renewals'>;
  readonly events: Pick<EventHub, 'counts'>;
}

/**
 * Returns the values of a scrape.
 * @param later called at a scrape, never before the daemon serves
 */
export function daemonFacts(
  config: Pick<DaemonConfig, 'namespacePool'>,
  {
    policy,
    policyDelivery,
    clusterPolicy,
    network,
  }: Pick<OpenNode, 'clusterPolicy' | 'network' | 'policy' | 'policyDelivery'>,
  { sandboxRecords, containerRecords }: DaemonRecords,
  { serviceFigures }: Pick<NetworkSide, 'serviceFigures'>,
  later: () => LaterDeps,
): Omit<DaemonFacts, 'auditFailures'> {
  return {
    version: runtimeVersion,
    ...recordFacts(sandboxRecords, containerRecords, () => later().pods.containers.unmonitored()),
    images: () => countByVerdict(later().images.list(), ({ unverified }) => unverified),
    imageBytes: async () => (await later().images.usage()).usedBytes,
    pulls: () => later().images.pulls(),
    namespacePool: () => later().pods.pool.size,
    namespacePoolTarget: config.namespacePool,
    ...networkFacts(network),
    serviceFigures,
    policy: () => policyFacts(policy, policyDelivery, clusterPolicy),
    verifications: bundleVerifications,
    renewals: () => later().policySide.renewals.counts(),
    outOfPolicy: () => {
      const { redecision } = later().policySide;
      return { containers: redecision.counts(), images: redecision.images() };
    },
    enforcement: () => later().policySide.enforcement.state(),
    events: () => later().events.counts(),
  };
}

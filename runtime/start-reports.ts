import type { DaemonConfig } from './config/types.ts';
import type { DaemonRecords } from './daemon-records.ts';
import { clusterPlaceOf } from './kubernetes-connection.ts';
import type { DaemonFacts } from './observability/facts.ts';
import type { OpenNode } from './open-node.ts';
import type { PolicySide } from './policy-side.ts';

type ReportingParts = Pick<
  OpenNode,
  'clusterPolicy' | 'database' | 'handlers' | 'log' | 'policy' | 'policyDelivery'
> &
  DaemonRecords & {
    readonly policySide: Pick<PolicySide, 'enforcement' | 'redecision'>;
    readonly facts: Pick<DaemonFacts, 'networkReady' | 'version'>;
  };

/** Starts to report about this node to an aggregator and to its cluster. Nothing waits for them. */
export async function startReports(
  config: DaemonConfig,
  parts: ReportingParts,
): Promise<{ close(): Promise<void> }> {
  const fleet = await startFleet(config, parts);
  const cluster = await startClusterReport(config, parts);
  return {
    close: async () => {
      await Promise.all([fleet?.close(), cluster?.close()]);
    },
  };
}

/** Starts to send to an aggregator, if one is configured. Otherwise its code is not even loaded. */
async function startFleet(
  config: DaemonConfig,
  parts: ReportingParts,
): Promise<{ close(): Promise<void> } | undefined> {
  if (config.fleet.endpoint === '') return undefined;
  const { database, log, policy, policyDelivery, policySide, facts, containerRecords, sandboxRecords } =
    parts;
  const { openFleet } = await import('./fleet/open-fleet.ts');
  const { enforcement, redecision } = policySide;
  const { version, networkReady } = facts;
  const sandbox = sandboxRecords.get;
  const state = {
    version,
    policy,
    enforcement,
    redecision,
    containers: containerRecords,
    sandbox,
    networkReady,
    upcoming: () => policyDelivery?.status()?.upcoming,
  };
  return openFleet(config, database, state, log);
}

/** Starts to report to the cluster, if one is configured. */
async function startClusterReport(
  config: DaemonConfig,
  parts: ReportingParts,
): Promise<{ close(): Promise<void> } | undefined> {
  if (config.cluster?.reports !== true) return undefined;
  const { log, policy, policyDelivery, clusterPolicy, policySide, handlers } = parts;
  const { openClusterReport } = await import('./cluster-report/cluster-report.ts');
  return openClusterReport({
    ...clusterPlaceOf(config),
    source: sourceOf(clusterPolicy, policyDelivery),
    ...{ policy, redecision: policySide.redecision, handlers: new Set(handlers.keys()) },
    ...{ containers: parts.containerRecords, sandboxes: parts.sandboxRecords },
    ...{ defaultHandler: config.defaultRuntime, log: log.child({ component: 'cluster' }) },
  });
}

/** Returns where the policy of the node comes from. */
function sourceOf(
  objects: OpenNode['clusterPolicy'],
  releases: OpenNode['policyDelivery'],
): 'files' | 'objects of the cluster' | 'releases' {
  if (objects !== undefined) return 'objects of the cluster';
  return releases === undefined ? 'files' : 'releases';
}

import type { NetworkFigures } from '../../cni-plugins/index.ts';
import { metricCatalogue as c } from './catalogue.ts';
import type { MetricDefinition } from './catalogue.ts';

/** Sets the metrics of the cluster whose NetworkPolicies the node follows. */
export function reportCluster(
  cluster: NetworkFigures['policies']['cluster'],
  set: (definition: MetricDefinition, value: number, labels?: Record<string, string>) => void,
): void {
  if (cluster === undefined) return;
  const { pods, namespaces, policies, groups, members, events, lists, failures, lagSeconds } = cluster;
  set(c.clusterSynced, Number(cluster.synced));
  set(c.clusterAway, Number(cluster.away !== undefined));
  for (const [kind, count] of Object.entries({ pods, namespaces, policies, groups, members }))
    set(c.clusterObjects, count, { kind });
  for (const [kind, count] of Object.entries({ events, lists, failures }))
    set(c.clusterEvents, count, { kind });
  if (lagSeconds !== undefined) set(c.clusterLag, lagSeconds);
}

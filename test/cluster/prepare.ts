import { globSync } from 'node:fs';
import type { Context } from './checks/check.ts';
import { namespace } from './checks/workload.ts';
import { until } from './nodes/cluster.ts';
import type { Cluster } from './nodes/cluster.ts';

/** Publishes the images of the checks into the registry of the cluster. */
export async function publishImages({ publisher: { publish } }: Cluster): Promise<Context['images']> {
  return {
    app: (await publish('app/web:1')).reference,
    next: (await publish('app/web:2')).reference,
    unsigned: (await publish('app/unsigned:1', {}, { sign: false })).reference,
  };
}

/** Creates the namespace of all pods, and waits for its account, without which admission refuses pods. */
export async function createNamespace(cluster: Cluster): Promise<void> {
  await cluster.ask('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  await until(
    'the namespace has an account',
    () => cluster.ask('GET', `/api/v1/namespaces/${namespace}/serviceaccounts/default`),
    () => true,
  );
}

/** Returns the cgroups of the nodes of this process, in every hierarchy. */
export function cgroups(): readonly string[] {
  const name = `portcullis-cluster-${process.pid}-*`;
  return globSync([`/sys/fs/cgroup/${name}`, `/sys/fs/cgroup/*/${name}`]);
}

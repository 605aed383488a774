import assert from 'node:assert/strict';
import type { Cluster } from '../nodes/cluster.ts';
import { createDeployment, deploymentOf, logOf, untilReady } from './workload.ts';
import type { ServiceObject } from './workload.ts';

/** A pod that asks the service all the time, and writes a line for each failure. */
export const client = { name: 'client', replicas: 1 } as const;

/** Starts the client. @returns the name of its pod */
export async function startClient(cluster: Cluster, image: string, service: ServiceObject): Promise<string> {
  const [address] = service.spec.clusterIPs;
  // One page at a time, as a client without retries; each answer is a line, and so is each failure.
  const script = `while true; do
timeout 5 wget -qO- http://${address ?? ''}/cgi-bin/who || echo "FAILED with $? at $(date -u)"
sleep 0.2
done`;
  const deployment = deploymentOf(client.name, image, client.replicas) as {
    spec: { template: { spec: object } };
  };
  deployment.spec.template.spec = {
    terminationGracePeriodSeconds: 1,
    containers: [{ name: 'client', image: image, command: ['sh', '-c', script] }],
  };
  await createDeployment(cluster, deployment);
  const [pod] = await untilReady(cluster, client.name, client.replicas);
  assert.ok(pod);
  return pod.metadata.name;
}

/** Requires that the client got answers since `from`, and only answers. */
export async function requireAnswers(cluster: Cluster, pod: string, from: number): Promise<number> {
  const lines = (await logOf(cluster, pod)).trim().split('\n').slice(from);
  const failed = lines.filter((line) => line.includes('FAILED'));
  assert.ok(lines.length > 3, `the client got ${lines.length} answers`);
  // 143: no answer within five seconds.
  assert.deepEqual(failed, [], `${failed.length} of ${lines.length} requests failed`);
  return lines.length;
}

export const answersOf = async (cluster: Cluster, pod: string): Promise<number> =>
  (await logOf(cluster, pod)).trim().split('\n').length;

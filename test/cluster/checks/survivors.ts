import assert from 'node:assert/strict';
import { until, untilNodesReady } from '../nodes/cluster.ts';
import type { Cluster } from '../nodes/cluster.ts';
import { web } from './check.ts';
import { askFrom, untilReady } from './workload.ts';
import type { Pod } from './workload.ts';

/** Containers that must survive a killed program, and remains of deleted objects. */

/** Returns the containers that must survive, each with its id and its number of starts. */
export const containersOf = (pods: readonly Pod[]): readonly string[] =>
  pods
    .flatMap(({ status }) => status.containerStatuses ?? [])
    .map(({ containerID = '', restartCount }) => `${containerID} ${restartCount}`)
    .toSorted();

/** Requires a healthy cluster after something was killed: nothing restarted, everything reachable. */
export async function requireUnharmed(cluster: Cluster, before: readonly string[]): Promise<void> {
  for (const { name } of cluster.nodes)
    await until(
      `the kubelet of ${name} answers`,
      () => cluster.text(`/api/v1/nodes/${name}/proxy/healthz`),
      (answer) => answer === 'ok',
    );
  await untilNodesReady(cluster);
  const pods = await untilReady(cluster, web.name, web.replicas);
  assert.deepEqual(containersOf(pods), before, 'no container was started again');
  const [asker] = pods;
  for (const { metadata, status } of pods)
    for (const { ip } of status.podIPs ?? [])
      if (metadata.name !== asker?.metadata.name)
        // A kubelet reconnects to a restarted daemon after up to a few seconds. Until then exec fails.
        await until(
          `${metadata.name} answers at ${ip}`,
          () => askFrom(cluster, asker?.metadata.name ?? '', ip),
          (answer) => answer.pod === metadata.name,
        );
}

/** Returns everything of pods that the daemon and the kernel of a node still show, one per line. */
export async function remainsOn(node: Cluster['nodes'][number]): Promise<readonly string[]> {
  const { runtime } = node.daemon.cri;
  const sandboxes = (await runtime.listPodSandbox({})).items.map(({ id }) => `sandbox ${id}`);
  const containers = (await runtime.listContainers({})).containers.map(({ id }) => `container ${id}`);
  const links = (JSON.parse(node.run('ip', '-json', 'link')) as readonly { readonly ifname: string }[])
    .map(({ ifname }) => ifname)
    .filter((name) => !['lo', 'eth0', 'portcullis-pods'].includes(name));
  const mounts = node
    .run('cat', '/proc/self/mountinfo')
    .split('\n')
    .filter((line) => /kubelet\/pods\/|\/(?:containers|pods)\/[0-9a-f]{64}/u.test(line));
  const rules = node
    .run('nft', 'list', 'ruleset')
    .split('\n')
    // A balancer remembers former backends for days, so that their connections end with a reset.
    .filter((line) => /\b10\.244\.\d+\.(?!0\/|1\b)\d+/u.test(line) && !line.includes(' timeout '));
  return [...sandboxes, ...containers, ...links.map((name) => `link ${name}`), ...mounts, ...rules];
}

/**
 * `npm run test:cluster-churn`: pods come and go on a cluster whose programs are killed at random
 * (../README.md).
 */
import '../../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createRandom } from '../../fixtures/random.ts';
import { lasting, leftovers } from '../../house/leftovers.ts';
import { web } from '../checks/check.ts';
import { requireAnswers, startClient } from '../checks/client.ts';
import { containersOf, remainsOn, requireUnharmed } from '../checks/survivors.ts';
import {
  createDeployment,
  createService,
  deploymentOf,
  execIn,
  namespace,
  podsOf,
  untilReady,
} from '../checks/workload.ts';
import { keepLogs, openCluster, until, untilNodesReady } from '../nodes/cluster.ts';
import { cgroups, createNamespace, publishImages } from '../prepare.ts';
import { buildPrograms } from '../programs.ts';
import { killAtRandom } from './killer.ts';
import { livePod } from './lane.ts';
import type { Surroundings } from './lane.ts';
import {
  collector,
  collectorCommand,
  collectorUrl,
  friend,
  guarded,
  policy,
  reachedFile,
} from './objects.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    nodes: { type: 'string', default: '2' },
    /** Number of pods that come and go at a time. */
    lanes: { type: 'string', default: String(2 * availableParallelism()) },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    'keep-logs': { type: 'string' },
  },
});
buildPrograms(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet']);
console.log(`seed ${values.seed}`);
const random = createRandom(Number(values.seed));
const atFirst = leftovers();
const folder = mkdtempSync(join(tmpdir(), 'portcullis-cluster-'));
const cluster = await openCluster(folder, Number(values.nodes), { networkPolicies: true });
const problems: string[] = [];
try {
  await record(churn);
} finally {
  if (values['keep-logs'] !== undefined) keepLogs(cluster, folder, values['keep-logs']);
  await cluster.close();
  rmSync(folder, { recursive: true, force: true });
}
problems.push(
  ...(await lasting(atFirst))
    .filter((line) => !line.startsWith('process') || line.includes(folder))
    .map((line) => `left behind: ${line}`),
  ...cgroups().map((path) => `left behind: ${path}`),
);
for (const one of problems) console.log(one);
console.log(problems.length === 0 ? 'ok' : `FAILED, seed ${values.seed}`);
process.exit(problems.length === 0 ? 0 : 1);

async function churn(): Promise<void> {
  const all = await openWorkload();
  const stable = containersOf(await podsOf(cluster, web.name));
  const asker = await startClient(cluster, all.image, await createService(cluster, 'steady', web.name));
  const ending = new AbortController();
  const killing = killAtRandom(cluster, random, ending.signal);
  const end = performance.now() + Number(values.minutes) * 60_000;
  const counts = { pods: 0, longestMs: 0 };
  const lane = async (number: number): Promise<void> => {
    for (let round = 1; performance.now() < end && problems.length === 0; round++) {
      const begun = performance.now();
      const restMs = random() * 5000;
      await livePod(all, `${guarded}-${number}-${round}`, restMs);
      counts.pods += 1;
      counts.longestMs = Math.max(counts.longestMs, performance.now() - begun - restMs);
    }
  };
  const lanes = Array.from({ length: Number(values.lanes) }, (_, index) =>
    lane(index + 1).catch((thrown: unknown) => problems.push(String(thrown))),
  );
  await Promise.all(lanes);
  ending.abort();
  const kills = await killing;
  const killed = Object.entries(kills).map(([victim, count]) => `${victim} ${count}`);
  console.log(
    `${counts.pods} pods came and went, the slowest within ${(counts.longestMs / 1000).toFixed(0)} s; killed: ${killed.join(', ')}`,
  );
  await record(() => requireUnharmed(cluster, stable));
  await record(async () => {
    const answers = await requireAnswers(cluster, asker, 0);
    console.log(`${answers} requests to a service that did not change, all answered`);
  });
  await record(async () => {
    assert.deepEqual(await reachedBy(all), [], 'pods that reached an address that their policy forbids');
  });
  await record(requireNothingLeft);
}

/** Records a failed expectation, so that the others are checked too. */
async function record(expectation: () => Promise<void>): Promise<void> {
  try {
    await expectation();
  } catch (thrown) {
    problems.push(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

/** Creates the pods that stay, the policy and the Services. */
async function openWorkload(): Promise<Surroundings & { readonly collector: string }> {
  await untilNodesReady(cluster);
  const images = await publishImages(cluster);
  await createNamespace(cluster);
  await cluster.ask('POST', `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`, policy);
  for (const { name, replicas } of [web, friend])
    await createDeployment(cluster, deploymentOf(name, images.app, replicas));
  await createDeployment(cluster, withCommand(deploymentOf(collector.name, images.app, collector.replicas)));
  const [stranger] = await untilReady(cluster, web.name, web.replicas);
  const [friendPod] = await untilReady(cluster, friend.name, friend.replicas);
  const [collectorPod] = await untilReady(cluster, collector.name, collector.replicas);
  assert.ok(stranger && friendPod && collectorPod);
  const collectorAddresses = (collectorPod.status.podIPs ?? []).map(({ ip }) => ip);
  // A pod without a policy reaches the collector, so that an empty file means something.
  for (const address of collectorAddresses)
    await execIn(cluster, stranger.metadata.name, ['wget', '-qO-', collectorUrl(address, 'control')]);
  const service = await createService(cluster, guarded, guarded);
  return {
    cluster,
    image: images.app,
    friend: friendPod.metadata.name,
    stranger: stranger.metadata.name,
    collector: collectorPod.metadata.name,
    collectorAddresses,
    serviceAddress: service.spec.clusterIPs[0] ?? '',
  };
}

function withCommand(deployment: object): object {
  const changed = structuredClone(deployment) as {
    spec: { template: { spec: { containers: { command: readonly string[] }[] } } };
  };
  for (const container of changed.spec.template.spec.containers) container.command = collectorCommand;
  return changed;
}

/** Returns the pods that the collector has counted, except the control and the probes of its kubelet. */
async function reachedBy({
  collector,
  collectorAddresses,
}: {
  readonly collector: string;
  readonly collectorAddresses: readonly string[];
}): Promise<readonly string[]> {
  const lines = (await execIn(cluster, collector, ['cat', reachedFile]))
    .split('\n')
    .filter((line) => line !== '');
  assert.equal(lines.filter((line) => line === 'control').length, collectorAddresses.length);
  return [...new Set(lines.filter((line) => line !== 'control'))];
}

async function requireNothingLeft(): Promise<void> {
  await cluster.ask('DELETE', `/api/v1/namespaces/${namespace}`);
  await until(
    'the namespace is gone',
    () => cluster.ask('GET', `/api/v1/namespaces/${namespace}`).then(() => 'there', String),
    (found) => found.includes('404'),
  );
  for (const node of cluster.nodes)
    await until(
      `nothing remains on ${node.name}`,
      () => remainsOn(node),
      (found) => found.length === 0,
      150_000,
    );
}

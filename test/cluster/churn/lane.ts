import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { askFrom, execIn, isPodReady, namespace, serverPort } from '../checks/workload.ts';
import type { Pod } from '../checks/workload.ts';
import { until } from '../nodes/cluster.ts';
import type { Cluster } from '../nodes/cluster.ts';
import { guardedPod } from './objects.ts';

/** Programs are killed meanwhile: each step may take several restarts. */
const patienceMs = 300_000;
const podsPath = `/api/v1/namespaces/${namespace}/pods`;

export interface Surroundings {
  readonly cluster: Cluster;
  readonly image: string;
  /** The name of a pod that the policy admits, and of one that it does not admit. */
  readonly friend: string;
  readonly stranger: string;
  readonly collectorAddresses: readonly string[];
  /** The address of the Service of all guarded pods. */
  readonly serviceAddress: string;
}

/**
 * Creates one pod, requires that its policy and its Service are in force when it is ready, and deletes it.
 * @param restMs how long the pod runs after that, in ms
 */
export async function livePod(all: Surroundings, name: string, restMs: number): Promise<void> {
  const { cluster, image, collectorAddresses } = all;
  await create(cluster, name, guardedPod(name, image, collectorAddresses));
  const pod = await until(
    `${name} is ready`,
    () => podOf(cluster, name),
    (found) => found !== undefined && isPodReady(found),
    patienceMs,
  );
  for (const { ip } of pod?.status.podIPs ?? []) {
    await until(
      `${name} answers its friend at ${ip}`,
      () => askFrom(cluster, all.friend, ip),
      (answer) => answer.pod === name,
      patienceMs,
    );
    assert.equal(await reaches(cluster, all.stranger, ip), false, `another pod reaches ${name} at ${ip}`);
  }
  await until(
    `the Service has ${name} as an endpoint`,
    () => askFrom(cluster, all.friend, all.serviceAddress, 80),
    (answer) => answer.pod === name,
    patienceMs,
  );
  await pause(restMs);
  await remove(cluster, name);
}

/** Creates a pod. A request whose answer was lost may have created it. */
function create(cluster: Cluster, name: string, pod: object): Promise<unknown> {
  return until(
    `${name} is created`,
    () => cluster.ask('POST', podsPath, pod).catch(unlessStatus(409)),
    () => true,
    patienceMs,
  );
}

async function remove(cluster: Cluster, name: string): Promise<void> {
  const path = `${podsPath}/${name}`;
  await until(
    `${name} is deleted`,
    () => cluster.ask('DELETE', path).catch(unlessStatus(404)),
    () => true,
    patienceMs,
  );
  await until(
    `${name} is gone`,
    () => podOf(cluster, name),
    (found) => found === undefined,
    patienceMs,
  );
}

async function podOf(cluster: Cluster, name: string): Promise<Pod | undefined> {
  const found: unknown = await cluster.ask('GET', `${podsPath}/${name}`).catch(unlessStatus(404));
  return found as Pod | undefined;
}

/** Accepts the status in the message of a failed request. */
const unlessStatus =
  (status: number) =>
  (thrown: unknown): undefined => {
    if (!String(thrown).includes(String(status))) throw thrown;
  };

/** Returns whether a pod gets an answer from an address within two seconds. Repeats an interrupted exec. */
async function reaches(cluster: Cluster, pod: string, ip: string): Promise<boolean> {
  const url = `http://${ip.includes(':') ? `[${ip}]` : ip}:${serverPort}/cgi-bin/who`;
  const script = `timeout 2 wget -qO- '${url}' > /dev/null 2>&1 && echo reached || echo refused`;
  const said = await until(
    `${pod} was asked about ${ip}`,
    async () => (await execIn(cluster, pod, ['sh', '-c', script])).trim(),
    (text) => text === 'reached' || text === 'refused',
    patienceMs,
  );
  return said === 'reached';
}

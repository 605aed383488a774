import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import type { Answer } from '../../fixtures/kubernetes/api.ts';
import type { ApiServer } from '../../fixtures/kubernetes/api-server.ts';
import type { Pki } from '../../fixtures/kubernetes/pki.ts';
import { makeKey, openPublisher, registryName } from '../../fixtures/publisher.ts';
import type { Publisher } from '../../fixtures/publisher.ts';
import { startRegistry } from '../../fixtures/registry.ts';
import { policyOf } from '../../fixtures/stage.ts';
import { outsideAddress, switchAddress } from './addresses.ts';
import { startControlPlane } from './control-plane.ts';
import type { ControlPlane } from './control-plane.ts';
import { switchBridge } from './namespaces.ts';
import { openNode } from './node.ts';
import type { ClusterNode } from './node.ts';

const repository = join(import.meta.dirname, '../../..');
const plainRules = `  - images: ["${registryName}/**"]\n    require: { cosign: { key: k.pub } }\n`;

/** A control plane, a registry with signed images, and nodes, in their own namespaces. */
export interface Cluster extends Pick<ApiServer, 'ask' | 'text'> {
  readonly controlPlane: ControlPlane;
  readonly nodes: readonly ClusterNode[];
  readonly publisher: Publisher;
  close(): Promise<void>;
}

export interface ClusterOptions {
  /** Host in the references of the images, instead of good.test. */
  readonly imageHost?: string;
  /** Rules of the policy. By default, images of good.test need a signature. */
  readonly policyRules?: string;
  /** Whether the daemons apply NetworkPolicies. By default, they do not. */
  readonly networkPolicies?: boolean;
  /** The address of the cluster's own name server. By default, the daemons answer its names. */
  readonly nameServer?: string;
  /** Additional flags of each daemon. */
  readonly daemonFlags?: readonly string[];
  /** Additional flags of the API server. */
  readonly apiServerFlags?: (pki: Pki) => readonly string[];
  /** Is called before the first node exists. */
  readonly prepare?: (api: ApiServer) => Promise<void>;
}

/** Opens a cluster. The process must have its own mount and network namespaces. */
export async function openCluster(
  folder: string,
  count: number,
  options: ClusterOptions = {},
): Promise<Cluster> {
  const { imageHost = registryName, policyRules = plainRules, networkPolicies = false } = options;
  openSegment();
  const registry = await startRegistry({ everywhere: true });
  const policyFolder = join(folder, 'policy');
  mkdirSync(policyFolder, { recursive: true });
  const key = await makeKey(join(folder, 'k.key'), join(policyFolder, 'k.pub'));
  writeFileSync(join(policyFolder, 'policy.yaml'), policyOf(policyRules));
  const publisher = openPublisher(registry, key);
  const controlPlane = await startControlPlane(folder, options.apiServerFlags);
  const { api } = controlPlane;
  await applyShippedRoles(api);
  await options.prepare?.(api);
  const nodes: ClusterNode[] = [];
  for (let index = 1; index <= count; index++)
    nodes.push(
      await openNode({
        index,
        folder,
        api,
        policyFiles: ['policy.yaml', 'k.pub'].map((name) => join(policyFolder, name)),
        registryPort: Number(registry.host.split(':').at(-1)),
        ...{ imageHost, networkPolicies, daemonFlags: options.daemonFlags ?? [] },
        nameServer: options.nameServer,
      }),
    );
  return {
    ask: api.ask,
    text: api.text,
    controlPlane,
    nodes,
    publisher,
    async close() {
      for (const node of nodes) await node.close();
      await controlPlane.stop();
      await publisher.close();
      await registry.close();
      execFileSync('ip', ['link', 'del', switchBridge]);
    },
  };
}

/** One network segment, and an address beyond it. */
export function openSegment(): void {
  for (const command of [
    `link add ${switchBridge} type bridge`,
    `addr add ${switchAddress[4]}/24 dev ${switchBridge}`,
    `addr add ${switchAddress[6]}/64 dev ${switchBridge} nodad`,
    `link set ${switchBridge} up`,
    `addr add ${outsideAddress[4]}/32 dev lo`,
    `addr add ${outsideAddress[6]}/128 dev lo`,
    // The API server needs a default route to find its own address.
    `route add default dev ${switchBridge}`,
  ])
    execFileSync('ip', command.split(' '));
}

const paths: Readonly<Record<string, string>> = {
  ClusterRole: '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  ClusterRoleBinding: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
};

/** The roles of the daemons, as they are shipped. */
async function applyShippedRoles(api: ApiServer): Promise<void> {
  const text = readFileSync(join(repository, 'packaging/kubernetes/node-role.yaml'), 'utf8');
  for (const document of parseAllDocuments(text)) {
    const object = document.toJS() as { readonly kind: string };
    await api.ask('POST', paths[object.kind] ?? '', object);
  }
}

/** Asks until `is` returns true for the answer, and returns the answer. @throws with the last answer */
export async function until<T>(
  what: string,
  look: () => Promise<T>,
  is: (found: T) => boolean,
  patienceMs = 120_000,
): Promise<T> {
  const end = performance.now() + patienceMs;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (is(found)) return found;
      last = found;
    } catch (thrown) {
      last = String(thrown);
    }
    if (performance.now() > end)
      throw new Error(`${what}: not within ${patienceMs / 1000} s: ${JSON.stringify(last).slice(0, 3000)}`);
    await pause(300);
  }
}

export interface NodeObject {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly podCIDRs?: readonly string[] };
  readonly status: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message: string;
    }[];
  };
}

/** Returns the objects of a list. The caller states their type. */
export const itemsOf = (answer: Answer): readonly unknown[] => (answer['items'] ?? []) as readonly unknown[];

export const isNodeReady = ({ status }: NodeObject): boolean =>
  (status.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True');

/** Waits until every node is Ready. */
export const untilNodesReady = (cluster: Cluster): Promise<readonly NodeObject[]> =>
  until(
    'every node is Ready',
    async () => itemsOf(await cluster.ask('GET', '/api/v1/nodes')) as readonly NodeObject[],
    (nodes) => nodes.length === cluster.nodes.length && nodes.every(isNodeReady),
  );

/** Lets the control plane reach the pods, as on a machine that is a node as well. */
export async function addRoutesToPods(cluster: Cluster): Promise<void> {
  for (const { metadata, spec } of await untilNodesReady(cluster)) {
    const address = cluster.nodes.find(({ name }) => name === metadata.name)?.address;
    for (const subnet of spec.podCIDRs ?? [])
      execFileSync('ip', ['route', 'add', subnet, 'via', address?.[subnet.includes(':') ? 6 : 4] ?? '']);
  }
}

/** Copies logs for a reader. */
export function keepLogs(cluster: Cluster, folder: string, kept: string): void {
  mkdirSync(kept, { recursive: true });
  for (const name of ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'])
    copyFileSync(join(folder, `${name}.log`), join(kept, `${name}.log`));
  for (const { name } of cluster.nodes)
    for (const log of ['kubelet.log', 'daemon.log'])
      copyFileSync(join(folder, name, log), join(kept, `${name}-${log}`));
}

import type { Cluster } from '../services-watch/cluster.ts';

/** Namespaces, pods on paper, and policies of a cluster, by their numbers. */

export interface Sizes {
  readonly namespaces: number;
  readonly pods: number;
  readonly policies: number;
  /** Pods of the node that really exist: one in each of the first namespaces. */
  readonly own: number;
}

const apps = 10;
const byte = (index: number, shift: number): number => (index >> shift) & 255;
export const podAddress = (index: number): string =>
  `11.${byte(index, 16)}.${byte(index, 8)}.${byte(index, 0)}`;
export const bytesOf = (address: string): Buffer => Buffer.from(address.split('.').map(Number));
/** @param index the number of the pod */
export const appOf = (index: number): string => `app-${index % apps}`;

export const namespaceName = (index: number): string => `team-${index}`;
/** Pods of one namespace have each application. */
export const namespaceOf = (index: number, { namespaces }: Sizes): string =>
  namespaceName(Math.floor(index / apps) % namespaces);

export interface PaperPod {
  readonly name: string;
  readonly namespace: string;
  readonly app: string;
  readonly address: string;
  readonly node: string;
}

export const podBase = (namespace: string): string => `/api/v1/namespaces/${namespace}/pods`;
export const policyBase = (namespace: string): string =>
  `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`;

/** Returns the pod as controllers and a kubelet leave it, also with fields that nothing here needs. */
export async function createPod(
  cluster: Cluster,
  { name, namespace, app, address, node }: PaperPod,
): Promise<string> {
  const created = (await cluster.ask('POST', podBase(namespace), {
    metadata: {
      name,
      labels: { app, tier: 'web', 'pod-template-hash': `h${name}` },
      annotations: { 'example.com/description': 'x'.repeat(500) },
    },
    spec: {
      nodeName: node,
      containers: [
        {
          name: 'server',
          image: 'registry.example.com/server:1',
          ports: [{ name: 'web', containerPort: 8080 }],
          env: Array.from({ length: 10 }, (_, at) => ({ name: `SETTING_${at}`, value: 'y'.repeat(40) })),
        },
      ],
    },
  })) as { metadata: { uid: string } };
  await setStatus(cluster, { namespace, name }, { phase: 'Running', address });
  return created.metadata.uid;
}

export async function setStatus(
  cluster: Cluster,
  { namespace, name }: Pick<PaperPod, 'namespace' | 'name'>,
  { phase, address }: { readonly phase: string; readonly address: string },
): Promise<void> {
  await cluster.ask('PATCH', `${podBase(namespace)}/${name}/status`, {
    // A merge would keep the former address beside the new one.
    status: { phase, podIP: address, podIPs: [{ ip: address }, { $patch: 'replace' }] },
  });
}

/** Returns the application whose pods the policy selects, and those that may reach them. */
export const policyApps = (
  index: number,
  { namespaces }: Sizes,
): readonly [selected: string, from: string] => {
  const at = Math.floor(index / namespaces);
  return [appOf(0), appOf(1 + at)];
};

/** @param block a block that may reach the pods, too */
export function policyOf(index: number, sizes: Sizes, block?: string): object {
  const [selected, from] = policyApps(index, sizes);
  return {
    metadata: { name: `policy-${index}` },
    spec: {
      podSelector: { matchLabels: { app: selected } },
      policyTypes: ['Ingress'],
      ingress: [
        {
          from: [
            { podSelector: { matchLabels: { app: from } } },
            ...(block === undefined ? [] : [{ ipBlock: { cidr: block } }]),
          ],
          ports: [{ port: 'web' }],
        },
      ],
    },
  };
}

import type { Cluster } from './cluster.ts';

/** Services and EndpointSlices as a cluster's controllers write them, of every type, and their changes. */

export const namespace = 'shop';
const sliceBase = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
const serviceBase = `/api/v1/namespaces/${namespace}/services`;

const byte = (index: number, shift: number): number => (index >> shift) & 255;
/** Returns the address of a pod: it differs from all other addresses here. */
export const podAddress = (index: number): string =>
  `11.${byte(index, 16)}.${byte(index, 8)}.${byte(index, 0)}`;
export const bytesOf = (address: string): Buffer => Buffer.from(address.split('.').map(Number));

export const serviceName = (index: number): string => `service-${index}`;

export function serviceOf(index: number): object {
  const [dual, node, affine, local] = [
    index % 10 === 1,
    index % 20 === 2,
    index % 20 === 3,
    index % 100 === 4,
  ];
  return {
    metadata: { name: serviceName(index), labels: { app: `app-${index}` } },
    spec: {
      type: local ? 'LoadBalancer' : node ? 'NodePort' : 'ClusterIP',
      ...(dual && { ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv4', 'IPv6'] }),
      ...(affine && { sessionAffinity: 'ClientIP' }),
      ...(local && { externalTrafficPolicy: 'Local' }),
      ports: [
        { name: 'http', port: 80, targetPort: 'web' },
        ...(index % 4 === 0 ? [{ name: 'metrics', port: 9090 }] : []),
      ],
      selector: { app: `app-${index}` },
    },
  };
}

const endpoint = (address: string, more: object = {}): object => ({
  addresses: [address],
  conditions: { ready: true, serving: true, terminating: false },
  nodeName: 'node-1',
  targetRef: {
    kind: 'Pod',
    namespace,
    name: `pod-${address}`,
    uid: `00000000-0000-4000-8000-${address.replaceAll('.', '').padStart(12, '0')}`,
  },
  ...more,
});

export function sliceOf(index: number, addresses: readonly string[], family: 4 | 6 = 4): object {
  return {
    metadata: {
      name: `${serviceName(index)}-${family}`,
      labels: {
        'kubernetes.io/service-name': serviceName(index),
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
      },
    },
    addressType: family === 4 ? 'IPv4' : 'IPv6',
    ports: [
      { name: 'http', port: 8080, protocol: 'TCP' },
      { name: 'metrics', port: 9090, protocol: 'TCP' },
    ],
    endpoints: addresses.map((address) => endpoint(address)),
  };
}

/** @returns the cluster address */
export async function createService(
  cluster: Cluster,
  index: number,
  addresses: readonly string[],
): Promise<string> {
  const created = (await cluster.ask('POST', serviceBase, serviceOf(index))) as {
    spec: { clusterIP: string };
  };
  await cluster.ask('POST', sliceBase, sliceOf(index, addresses));
  if (index % 10 === 1)
    await cluster.ask(
      'POST',
      sliceBase,
      sliceOf(
        index,
        addresses.map((address) => `fd00::${address.replaceAll('.', ':')}`),
        6,
      ),
    );
  return created.spec.clusterIP;
}

export async function setEndpoints(
  cluster: Cluster,
  index: number,
  addresses: readonly string[],
): Promise<void> {
  await cluster.ask('PUT', `${sliceBase}/${serviceName(index)}-4`, sliceOf(index, addresses));
}

export async function deleteService(cluster: Cluster, index: number): Promise<void> {
  await cluster.ask('DELETE', `${serviceBase}/${serviceName(index)}`);
  await cluster.ask('DELETE', `${sliceBase}/${serviceName(index)}-4`);
  if (index % 10 === 1) await cluster.ask('DELETE', `${sliceBase}/${serviceName(index)}-6`);
}

/** Runs as many at a time as a busy controller. */
export async function each<T>(
  items: readonly T[],
  atOnce: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const rest = [...items].reverse();
  const worker = async (): Promise<void> => {
    for (let item = rest.pop(); item !== undefined; item = rest.pop()) await act(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

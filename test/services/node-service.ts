import assert from 'node:assert/strict';
import { settle } from '../../cni-plugins/services/control/drains.ts';
import { expand } from '../../cni-plugins/services/control/expand.ts';
import { readService, readSlice } from '../../cni-plugins/services/kubernetes/objects.ts';
import { translate } from '../../cni-plugins/services/kubernetes/translate.ts';
import type { Family, Protocol, VirtualServer } from '../../cni-plugins/services/model/model.ts';
import { fromHost } from './case.ts';
import { sctpPort } from './sctp.ts';
import { routerAddress, tcpPort, udpPort } from './stage.ts';
import type { Stage } from './stage.ts';

/** A load balancer Service on a node of a cluster: the router, with b1. b2 and b3 are on other nodes. */

/** Pods of the node are b1, and further addresses of the client's host. */
const podRanges = ['10.9.0.0/16', 'fd09::/64', '10.2.0.11/32', 'fd02::11/128'];
const nodePort = 30_090;

export type Place = 'cluster address' | 'external IP' | 'load balancer' | 'node port';
export type Endpoints = 'everywhere' | 'nowhere' | 'on other nodes';

export const addresses: Readonly<Record<Family, Readonly<Record<Place, string>>>> = {
  4: {
    'cluster address': '10.96.9.1',
    'external IP': '10.96.9.2',
    'load balancer': '10.96.9.3',
    'node port': routerAddress[4],
  },
  6: {
    'cluster address': 'fd96::9:1',
    'external IP': 'fd96::9:2',
    'load balancer': 'fd96::9:3',
    'node port': routerAddress[6],
  },
};
const ports: Readonly<Record<Protocol, number>> = { tcp: tcpPort, udp: udpPort, sctp: sctpPort };
const portAt = (place: Place): number => (place === 'node port' ? nodePort : 80);
export const sourceOf = ({ client }: Stage, family: Family): string =>
  family === 4 ? client.address : client.address6;
export const nodeAddress: Readonly<Record<Family, string>> = { 4: '10.2.0.1', 6: 'fd02::1' };

/** Returns the virtual servers of a load balancer Service with these fields on this node. */
export function serversOf(
  { backends }: Stage,
  family: Family,
  endpoints: Endpoints,
  spec: object,
  protocol: Protocol = 'tcp',
): VirtualServer[] {
  const at = addresses[family];
  const service = readService({
    metadata: { namespace: 'shop', name: 'web' },
    spec: {
      type: 'LoadBalancer',
      clusterIP: at['cluster address'],
      clusterIPs: [at['cluster address']],
      externalIPs: [at['external IP']],
      ports: [{ port: 80, targetPort: ports[protocol], protocol: protocol.toUpperCase(), nodePort }],
      ...spec,
    },
    status: { loadBalancer: { ingress: [{ ip: at['load balancer'] }] } },
  });
  assert.ok(service);
  const here = endpoints === 'everywhere' ? backends : endpoints === 'nowhere' ? [] : backends.slice(1);
  const slice = readSlice({
    metadata: { namespace: 'shop', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: `IPv${family}`,
    ports: [{ port: ports[protocol], protocol: protocol.toUpperCase() }],
    endpoints: here.map(({ name, address, address6 }) => ({
      addresses: [family === 4 ? address : address6],
      conditions: { ready: true },
      nodeName: name === 'b1' ? 'router' : 'another',
    })),
  });
  assert.ok(slice);
  const { services } = translate(service, [slice], { nodeName: 'router', podRanges });
  return services
    .flatMap((each) => expand(each, () => ({ drained: false, unhealthy: false })))
    .flatMap((each) => settle(undefined, each, 0)?.server ?? []);
}

/** Who connects. */
export type Client = 'host' | 'outside' | 'pod';

/** Returns an answer for each connection. */
export async function connections(
  stage: Stage,
  family: Family,
  client: Client,
  place: Place,
  times: number,
): Promise<string[]> {
  const [address, port] = [addresses[family][place], portAt(place)];
  if (client === 'host') {
    const answers = [];
    for (let time = 0; time < times; time += 1) answers.push(await fromHost(address, port));
    return answers;
  }
  const froms = client === 'pod' ? stage.manyClients(family, times) : undefined;
  return stage.client.greet(address, port, times, froms);
}

export const first = (stage: Stage, family: Family, protocol: Protocol = 'tcp'): VirtualServer => {
  const [server] = serversOf(stage, family, 'everywhere', { externalTrafficPolicy: 'Local' }, protocol);
  assert.ok(server);
  return server;
};

import packet from 'dns-packet';
import {
  readCreateEndpoint,
  readCreateNetwork,
  readJoin,
  readProgram,
  readReleaseAddress,
  readRequestAddress,
  readRequestPool,
} from '../../../cni-plugins/libnetwork/protocol/requests.ts';
import { readDockerContainer } from '../../../cni-plugins/libnetwork/docker/docker-container.ts';
import { decide } from '../../../cni-plugins/dns/decide.ts';
import { encodeReply } from '../../../cni-plugins/dns/reply.ts';
import { answersTo, forwarded, isFailure, relayed } from '../../../cni-plugins/dns/forwarded-messages.ts';
import { readQuery, roomOf } from '../../../cni-plugins/dns/query.ts';
import { readFrames } from '../../../cni-plugins/dns/stream-frames.ts';
import { keysOf, readClaim, readHost, readSubnet } from '../../../cni-plugins/overlay/records/records.ts';
import { readFile } from '../../../cni-plugins/policy/kubernetes/read.ts';
import {
  headSize,
  lengthSize,
  readHead,
  readInputLength,
  readWhole,
} from '../../../cni-plugins/cni/server/frames.ts';
import { readService, readSlice } from '../../../cni-plugins/services/kubernetes/objects.ts';
import { readServices } from '../../../cni-plugins/services/description/read.ts';
import { parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { readCall } from '../../../cni-plugins/spec/call.ts';
import { readCniArgs } from '../../../cni-plugins/spec/cni-args.ts';
import { readConflist } from '../../../cni-plugins/spec/conflist.ts';
import { parseMemberships } from '../../../cni-plugins/spec/memberships.ts';
import { yamlLimits } from './target.ts';
import type { FuzzTarget } from './target.ts';

const ipam = {
  type: 'portcullis-ipam',
  ranges: [[{ subnet: '10.66.0.0/24', rangeStart: '10.66.0.5', gateway: '10.66.0.1' }]],
  routes: [{ dst: '0.0.0.0/0' }],
};
/** As many mistakes as fit: the position of each was counted from the start of the text. */
const wrongRanges = `{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"portcullis-bridge","ipam":{"type":"portcullis-ipam","ranges":[${Array.from(
  { length: 14_000 },
  () => '[{"subnet":"..","rangeStart":"\\ud800","gateway":"1//.66.0.1"}]',
).join(',')}]}}]}`;
const conflist = JSON.stringify({
  cniVersion: '1.1.0',
  name: 'net',
  plugins: [
    { type: 'portcullis-bridge', bridge: 'br0', isGateway: true, ipMasq: true, mtu: 1400, ipam },
    { type: 'portmap', capabilities: { portMappings: true }, snat: true },
  ],
});
const call = JSON.stringify({
  cniVersion: '1.1.0',
  name: 'net',
  type: 'portcullis-bridge',
  bridge: 'br0',
  ipam,
  runtimeConfig: {},
});
const environment = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'a',
  CNI_NETNS: '/run/netns/a',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
};
const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: a, namespace: shop }
spec:
  podSelector: { matchLabels: { app: web }, matchExpressions: [{ key: a, operator: In, values: [b] }] }
  policyTypes: [Ingress, Egress]
  ingress: [{ from: [{ namespaceSelector: {} , podSelector: {} }, { ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] } }], ports: [{ port: 80, endPort: 90, protocol: TCP }] }]
  egress: [{ to: [], ports: [{ port: dns, protocol: UDP }] }]
---
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { a: b } }
`;
const service = `apiVersion: portcullis.dev/v1alpha1
kind: Service
metadata: { name: web }
spec:
  addresses: [10.96.0.10]
  ports: [{ port: 80, targetPort: 8080, protocol: tcp }]
  backends: [{ address: 10.1.0.2 }]
`;
const kubernetesService = JSON.stringify({
  kind: 'Service',
  metadata: {
    name: 'web',
    namespace: 'shop',
    uid: 'u',
    resourceVersion: '1',
    creationTimestamp: '2026-01-01T00:00:00Z',
  },
  spec: {
    type: 'LoadBalancer',
    clusterIP: '10.96.0.10',
    clusterIPs: ['10.96.0.10'],
    externalIPs: ['192.0.2.1'],
    ports: [{ name: 'a', port: 80, targetPort: 8080, nodePort: 30080, protocol: 'TCP' }],
    sessionAffinity: 'ClientIP',
    externalTrafficPolicy: 'Local',
    loadBalancerSourceRanges: ['10.0.0.0/8'],
  },
  status: { loadBalancer: { ingress: [{ ip: '192.0.2.9' }] } },
});
const slice = JSON.stringify({
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  endpoints: [
    {
      addresses: ['10.1.0.2'],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: 'n1',
      hints: { forZones: [{ name: 'z' }] },
    },
  ],
  ports: [{ name: 'a', port: 8080, protocol: 'TCP' }],
});
const query = packet.encode({
  type: 'query',
  id: 7,
  flags: packet.RECURSION_DESIRED,
  questions: [{ name: 'web.net.portcullis.internal', type: 'A', class: 'IN' }],
});
const answer = packet.encode({
  type: 'response',
  id: 7,
  questions: [{ name: 'a.example', type: 'A', class: 'IN' }],
  answers: [{ name: 'a.example', type: 'A', ttl: 5, data: '192.0.2.1' }],
});
const cnm: readonly (readonly [read: (body: string) => unknown, seed: object])[] = [
  [
    readCreateNetwork,
    {
      NetworkID: 'e'.repeat(64),
      Options: { 'com.docker.network.generic': { a: 'b' } },
      IPv4Data: [{ AddressSpace: 'local', Pool: '10.60.0.0/24', Gateway: '10.60.0.1/24' }],
      IPv6Data: [],
    },
  ],
  [
    readCreateEndpoint,
    {
      NetworkID: 'e',
      EndpointID: 'f',
      Interface: { Address: '10.60.0.2/24', MacAddress: '02:00:5e:00:53:02' },
      Options: {},
    },
  ],
  [readJoin, { NetworkID: 'e', EndpointID: 'f', SandboxKey: '/run/docker/netns/a', Options: {} }],
  [
    readProgram,
    {
      NetworkID: 'e',
      EndpointID: 'f',
      Options: {
        'com.docker.network.portmap': [
          { Proto: 6, IP: '', Port: 80, HostIP: '0.0.0.0', HostPort: 8080, HostPortEnd: 8081 },
        ],
      },
    },
  ],
  [
    readRequestPool,
    { AddressSpace: 'portcullis', Pool: '10.61.0.0/24', SubPool: '10.61.0.128/25', Options: {}, V6: false },
  ],
  [readRequestAddress, { PoolID: 'portcullis|10.61.0.0/24', Address: '10.61.0.5', Options: {} }],
  [readReleaseAddress, { PoolID: 'portcullis|10.61.0.0/24', Address: '10.61.0.5' }],
];

const network = {
  name: 'net',
  holds: (address: Uint8Array) => address[0] === 10,
  endpoints: (name: string) =>
    name === 'web' ? [{ address: Uint8Array.of(10, 0, 0, 2), kind: 'container' as const }] : [],
  nameOf: () => 'web',
};

/** Runs several readers; each may refuse, without an effect on the others. */
function each(...readers: readonly (() => unknown)[]): unknown[] {
  return readers.map((read) => {
    try {
      return read();
    } catch (error) {
      if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError)
        throw error;
      return `refused: ${(error as Error).message}`;
    }
  });
}

export const targets: readonly FuzzTarget[] = [
  {
    name: 'network-dns-query',
    group: 'network',
    seeds: () => [
      query,
      packet.encode({
        type: 'query',
        id: 1,
        questions: [{ name: '2.0.0.10.in-addr.arpa', type: 'PTR', class: 'IN' }],
      }),
    ],
    read(bytes) {
      const read = readQuery(bytes);
      if (read === undefined || 'rcode' in read) return read;
      const decision = decide(read, [network], { ttl: 5 });
      const own =
        decision === 'forward' || !('unlessElsewhere' in decision) ? decision : decision.unlessElsewhere;
      const reply =
        own === 'forward' ? forwarded(bytes, read, 9) : encodeReply(bytes, read, own, roomOf(read));
      if (decision !== 'forward') packet.decode(reply);
      return [read, decision, reply.toString('hex')];
    },
  },
  {
    name: 'network-dns-answer',
    group: 'network',
    seeds: () => [answer],
    read(bytes) {
      const asked = packet.encode({
        type: 'query',
        id: 7,
        flags: packet.RECURSION_DESIRED,
        questions: [{ name: 'a.example', type: 'A', class: 'IN' }],
      });
      const read = readQuery(asked);
      if (read === undefined || 'rcode' in read)
        throw new TypeError('the query of this target cannot be read');
      // An answer to another question is dropped before it is read.
      if (!answersTo(bytes, asked, read)) return 'dropped';
      return [isFailure(bytes), relayed(bytes, asked, read, 512).toString('hex')];
    },
  },
  {
    name: 'network-dns-stream',
    group: 'network',
    seeds: () => [Buffer.concat([Buffer.from([0, query.length]), query, Buffer.from([0, 1, 7])])],
    read(bytes) {
      const cut = (piece: number): string => {
        const seen: string[] = [];
        const push = readFrames((message) => void seen.push(message.toString('hex')));
        for (let at = 0; at < bytes.length; at += piece) push(Buffer.from(bytes.subarray(at, at + piece)));
        return seen.join();
      };
      const whole = cut(bytes.length + 1);
      if (whole !== cut(bytes.length > 65_536 ? 4099 : 5))
        throw new TypeError('frames differ by how the bytes arrive');
      return whole;
    },
  },
  {
    name: 'network-conflist',
    group: 'network',
    words: [
      'portcullis-bridge',
      'portmap',
      'disableCheck',
      'cniVersion',
      '1.1.0',
      '::/0',
      'ranges',
      'capabilities',
    ],
    seeds: () => [conflist, wrongRanges],
    read: (bytes) => readConflist(bytes.toString(), 'file.conflist'),
  },
  {
    name: 'network-cni-call',
    group: 'network',
    words: ['prevResult', 'runtimeConfig', 'cni.dev/valid-attachments'],
    seeds: () => [call],
    read: (bytes) => readCall({ name: 'portcullis-bridge', environment, stdin: bytes }),
  },
  {
    name: 'network-cni-frames',
    group: 'network',
    seeds: () => [Buffer.concat([Buffer.from('PCTCNI2\0', 'latin1'), Buffer.alloc(40)])],
    read: (bytes) =>
      each(
        () => (bytes.length < headSize ? undefined : readHead(bytes.subarray(0, headSize))),
        () => (bytes.length < lengthSize ? undefined : readInputLength(bytes)),
        () => readWhole(bytes),
      ),
  },
  {
    name: 'network-texts',
    group: 'network',
    words: ['::ffff:', '/128', '/0', '%eth0', ';', '='],
    seeds: () => [
      '10.0.0.1',
      'fd00::/64',
      'IgnoreUnknown=1;K8S_POD_NAME=a',
      '[{"name":"x","network":"net","ports":["80:8080"],"ingressPorts":["30000:80/tcp"]}]',
    ],
    read: (bytes) =>
      each(
        () => parseIp(bytes.toString()),
        () => parsePrefix(bytes.toString()),
        () => readCniArgs(bytes.toString(), true),
        () => parseMemberships(bytes.toString(), 'a'),
      ),
  },
  ...cnm.map(([read, seed]): FuzzTarget => ({
    name: `network-cnm-${read.name.replace(/^read/u, '').replace(/[A-Z]/gu, (letter, at: number) => `${at > 0 ? '-' : ''}${letter.toLowerCase()}`)}`,
    group: 'network',
    seeds: () => [JSON.stringify(seed)],
    read: (bytes) => read(bytes.toString()),
  })),
  {
    name: 'network-docker-container',
    group: 'network',
    seeds: () => [
      JSON.stringify({
        Id: 'a',
        Name: '/web',
        Config: { Labels: { a: 'b' } },
        NetworkSettings: { Networks: { n: { NetworkID: 'e', EndpointID: 'f', Aliases: ['x'] } } },
      }),
    ],
    read(bytes) {
      let value: unknown;
      try {
        value = JSON.parse(bytes.toString());
      } catch {
        return undefined;
      }
      return readDockerContainer(value);
    },
  },
  {
    name: 'network-policy',
    group: 'network',
    allows: yamlLimits,
    words: [
      'NetworkPolicy',
      'NetworkPolicyList',
      'Namespace',
      'ipBlock',
      'except',
      'endPort',
      'matchExpressions',
      'DoesNotExist',
      '---\n',
    ],
    seeds: () => [policy],
    read: (bytes) => readFile({ file: 'file.yaml', text: bytes.toString() }),
  },
  {
    name: 'network-service',
    group: 'network',
    allows: yamlLimits,
    words: ['kind: Service', 'backends', 'drain', 'check', '---\n'],
    seeds: () => [service],
    read: (bytes) => readServices([{ file: 'file.yaml', text: bytes.toString() }]),
  },
  {
    name: 'network-kubernetes',
    group: 'network',
    seeds: () => [kubernetesService, slice],
    read(bytes) {
      let value: unknown;
      try {
        value = JSON.parse(bytes.toString());
      } catch {
        return undefined;
      }
      return each(
        () => readService(value),
        () => readSlice(value),
      );
    },
  },
  {
    name: 'network-overlay-records',
    group: 'network',
    seeds: () => [
      JSON.stringify({
        id: 'a',
        underlay: '192.0.2.1',
        vxlan: { mac: '02:00:00:00:00:01', port: 4789 },
        mtu: 1450,
      }),
      JSON.stringify({ host: 'a', id: 'b' }),
      '10.128.1.0-24',
    ],
    read: (bytes) =>
      each(
        () => readHost(bytes),
        () => readClaim(bytes),
        () => readSubnet(bytes.toString()),
        () => keysOf('net').read(bytes.toString()),
      ),
  },
];

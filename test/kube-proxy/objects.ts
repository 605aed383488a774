import { nodeName, places } from './layout.ts';
import type { Place } from './layout.ts';

/** Services and EndpointSlices, as an API server stores them, generated at random. */

export interface ServiceObject {
  readonly metadata: Metadata;
  readonly spec: ServiceSpec;
  readonly status: { readonly loadBalancer: { readonly ingress?: readonly Ingress[] } };
}

export interface Metadata {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly creationTimestamp: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Ingress {
  readonly ip?: string;
  readonly hostname?: string;
  readonly ipMode?: 'Proxy' | 'VIP';
}

export interface PortObject {
  readonly name?: string;
  readonly protocol: 'TCP' | 'UDP';
  readonly port: number;
  readonly targetPort: number | string;
  readonly nodePort?: number;
}

export type ServiceType = 'ClusterIP' | 'ExternalName' | 'LoadBalancer' | 'NodePort';
type Policy = 'Cluster' | 'Local';

export interface ServiceSpec {
  readonly type: ServiceType;
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly ipFamilies?: readonly string[];
  readonly ports: readonly PortObject[];
  readonly externalIPs?: readonly string[];
  readonly externalTrafficPolicy?: Policy;
  readonly internalTrafficPolicy?: Policy;
  readonly sessionAffinity: 'ClientIP' | 'None';
  readonly loadBalancerSourceRanges?: readonly string[];
  readonly healthCheckNodePort?: number;
}

export interface SliceObject {
  readonly metadata: Metadata;
  readonly addressType: string;
  readonly ports: readonly object[];
  readonly endpoints: readonly EndpointObject[];
}

export interface EndpointObject {
  readonly addresses: readonly string[];
  readonly conditions: {
    readonly ready?: boolean;
    readonly serving?: boolean;
    readonly terminating?: boolean;
  };
  readonly nodeName?: string;
  readonly zone?: string;
  readonly hints?: object;
}

export type Random = () => number;
export const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
export const chance = (random: Random, of: number): boolean => random() < of;

const namespace = 'shop';
export const nameOf = (index: number): string => `service-${index}`;
let uids = 0;
const uid = (): string => `00000000-0000-4000-8000-${String((uids += 1)).padStart(12, '0')}`;

const catalogue: readonly (Omit<PortObject, 'targetPort'> & { readonly name: string })[] = [
  { name: 'http', protocol: 'TCP', port: 80 },
  { name: 'admin', protocol: 'TCP', port: 8443 },
  { name: 'dns', protocol: 'UDP', port: 53 },
  { name: 'dns-tcp', protocol: 'TCP', port: 53 },
  { name: 'log', protocol: 'UDP', port: 514 },
];
const numbers = [8080, 8081, 9090] as const;

/** The addresses of a service depend on its number only, so that no two services claim the same. */
const clusterAddress = (index: number, family: string): string =>
  family === 'IPv4' ? `10.96.0.${10 + index}` : `fd00:10:96::${10 + index}`;
const externalAddress = (index: number, family: string): string =>
  family === 'IPv4' ? `198.51.100.${10 + index}` : `fd00:198::${10 + index}`;
const balancedAddress = (index: number, family: string): string =>
  family === 'IPv4' ? `203.0.113.${10 + index}` : `fd00:203::${10 + index}`;

const other = (family: string): string => (family === 'IPv4' ? 'IPv6' : 'IPv4');

function portsOf(random: Random, index: number, hasNodePorts: boolean): PortObject[] {
  const count = pick(random, [1, 1, 2, 3]);
  const chosen = [...catalogue].sort(() => random() - 0.5).slice(0, count);
  return chosen.map(({ name, ...port }, at) => ({
    // A single port needs no name.
    ...((count > 1 || chance(random, 0.5)) && { name }),
    ...port,
    targetPort: chance(random, 0.3) ? `to-${name}` : pick(random, numbers),
    ...(hasNodePorts && { nodePort: 30_000 + index * 10 + at + (chance(random, 0.1) ? 5 : 0) }),
  }));
}

function balancedOf(
  random: Random,
  index: number,
  families: readonly string[],
): Partial<ServiceSpec> & {
  readonly ingress: readonly Ingress[];
} {
  const wanted = chance(random, 0.1) ? ['IPv4', 'IPv6'] : families;
  const ingress = wanted.flatMap((family): Ingress[] =>
    chance(random, 0.85)
      ? [
          {
            ip: balancedAddress(index, family),
            ...(chance(random, 0.5) && { ipMode: chance(random, 0.15) ? 'Proxy' : 'VIP' }),
          },
        ]
      : [],
  );
  if (chance(random, 0.1)) ingress.push({ hostname: 'balancer.example' });
  return {
    ingress,
    ...(chance(random, 0.5) && {
      loadBalancerSourceRanges: pick(random, [
        ['192.88.0.0/17', 'fd00:88::/33'],
        ['192.88.0.0/17'],
        [' fd00:88::/33 '],
        ['192.88.0.0/18', '192.88.64.0/18', 'fd00:88::/33'],
        ['0.0.0.0/0', '::/0'],
        ['203.0.113.0/24', 'fd00:999::/64'],
      ]),
    }),
  };
}

/** Returns a service with this number. @param primary its first address family */
export function serviceOf(random: Random, index: number, primary: string, type?: ServiceType): ServiceObject {
  const chosen =
    type ??
    pick(random, [
      'ClusterIP',
      'ClusterIP',
      'ClusterIP',
      'NodePort',
      'NodePort',
      'LoadBalancer',
      'LoadBalancer',
    ]);
  const families = chance(random, 0.45) ? [primary, other(primary)] : [primary];
  const metadata = {
    namespace,
    name: nameOf(index),
    uid: uid(),
    creationTimestamp: new Date(Date.UTC(2026, 0, 1) + index * 1000).toISOString(),
    ...(chance(random, 0.04) && { labels: { 'service.kubernetes.io/service-proxy-name': 'another' } }),
  };
  if (chosen === 'ExternalName')
    return {
      metadata,
      spec: { type: chosen, ports: [], sessionAffinity: 'None' },
      status: { loadBalancer: {} },
    };
  const isBalanced = chosen === 'LoadBalancer';
  const hasNodePorts = chosen === 'NodePort' || (isBalanced && chance(random, 0.8));
  const isHeadless = chosen === 'ClusterIP' && chance(random, 0.1);
  const clusterIPs = isHeadless ? ['None'] : families.map((family) => clusterAddress(index, family));
  const external = chance(random, 0.3)
    ? (chance(random, 0.2) ? ['IPv4', 'IPv6'] : families).map((family) => externalAddress(index, family))
    : [];
  const isReachable = chosen !== 'ClusterIP' || external.length > 0;
  const externalTrafficPolicy: Policy = chance(random, 0.4) ? 'Local' : 'Cluster';
  const { ingress, ...balanced } = isBalanced ? balancedOf(random, index, families) : { ingress: [] };
  return {
    metadata,
    spec: {
      type: chosen,
      clusterIP: clusterIPs[0]!,
      clusterIPs,
      ipFamilies: families,
      ports: portsOf(random, index, hasNodePorts),
      internalTrafficPolicy: chance(random, 0.25) ? 'Local' : 'Cluster',
      sessionAffinity: chance(random, 0.25) ? 'ClientIP' : 'None',
      ...(external.length > 0 && { externalIPs: external }),
      ...(isReachable && { externalTrafficPolicy }),
      ...balanced,
      ...(isBalanced && externalTrafficPolicy === 'Local' && { healthCheckNodePort: 32_000 + index }),
      ...(isBalanced && !hasNodePorts && { allocateLoadBalancerNodePorts: false }),
      ...(chance(random, 0.1) && { publishNotReadyAddresses: true }),
      ...affinityTimeout(random),
    },
    status: { loadBalancer: ingress.length === 0 ? {} : { ingress } },
  };
}

const affinityTimeout = (random: Random): object => ({
  sessionAffinityConfig: { clientIP: { timeoutSeconds: pick(random, [600, 10_800, 86_400]) } },
});

const conditions: readonly (readonly [share: number, EndpointObject['conditions']])[] = [
  [0.6, { ready: true, serving: true, terminating: false }],
  [0.1, {}],
  [0.13, { ready: false, serving: true, terminating: true }],
  [0.06, { ready: false, serving: false, terminating: true }],
  [0.11, { ready: false, serving: false, terminating: false }],
];
export function conditionsOf(random: Random): EndpointObject['conditions'] {
  let rest = random();
  for (const [share, one] of conditions) if ((rest -= share) < 0) return one;
  return {};
}

type Hints = 'all' | 'no' | 'some';

function endpointOf(random: Random, place: Place, six: boolean, hints: Hints): EndpointObject {
  const hasHints = hints === 'all' || (hints === 'some' && chance(random, 0.7));
  return {
    addresses: [place.addresses[six ? 1 : 0]],
    conditions: conditionsOf(random),
    // kube-proxy must know which endpoints are on its own node.
    ...((place.node === nodeName || !chance(random, 0.05)) && { nodeName: place.node }),
    zone: place.zone,
    ...(hasHints && {
      hints: {
        forZones: [{ name: place.zone }],
        ...(chance(random, 0.3) && { forNodes: [{ name: place.node }] }),
      },
    }),
  };
}

/** Returns the slices of a service, as a controller writes them, or as a broken one does. */
export function slicesOf(random: Random, { metadata, spec }: ServiceObject): SliceObject[] {
  const own = spec.ipFamilies ?? [];
  const families = chance(random, 0.08) ? ['IPv4', 'IPv6'] : own;
  return families.flatMap((family) => {
    const hints = pick<Hints>(random, ['no', 'no', 'no', 'all', 'some']);
    const chosen = places.filter(() => chance(random, 0.45));
    const endpoints = chosen.map((place) => endpointOf(random, place, family === 'IPv6', hints));
    const count = pick(random, [1, 1, 1, 2]);
    return Array.from({ length: count }, (_, at): SliceObject => {
      const isHeadless = spec.clusterIP === 'None';
      return {
        metadata: {
          namespace: metadata.namespace,
          name: `${metadata.name}-${family.toLowerCase()}-${at}`,
          uid: uid(),
          creationTimestamp: metadata.creationTimestamp,
          labels: {
            'kubernetes.io/service-name': metadata.name,
            ...(isHeadless && { 'service.kubernetes.io/headless': '' }),
          },
        },
        addressType: family,
        ports: spec.ports
          .filter(() => chance(random, 0.93))
          .map(({ name, protocol, targetPort }) => ({
            // The API server sets the name of a port that has none.
            name: name ?? '',
            protocol,
            port: typeof targetPort === 'number' ? targetPort : pick(random, numbers),
          })),
        // Slices overlap while endpoints move between them.
        endpoints: endpoints.filter(() => count === 1 || chance(random, 0.7)),
      };
    });
  });
}

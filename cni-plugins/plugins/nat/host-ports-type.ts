import { existsSync, readFileSync } from 'node:fs';
import {
  forgetConnections,
  isRefusal,
  setPortUp,
  lookUp,
  setRouteLocalnet,
  concatenated,
  lookUpRoute,
  readRouteLink,
  be16,
} from '../../../base/netlink/index.ts';
import { formatIp, ipBytes, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../../base/addresses/index.ts';
import type { PortMapping } from '../../types.ts';
import type { Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import { missingElements, putElements, takeElements } from './elements.ts';
import type { MapElement } from './elements.ts';
import { guardChain } from './guards.ts';
import type { Condition } from './guards.ts';
import type { SharedChain } from './tables.ts';
import { maps, masqueradeAll, returningChain } from './rules.ts';

/** Ports of the host that lead into the pod. */
export interface HostPorts extends Resource {
  readonly kind: 'host-ports';
  readonly mappings: readonly PortMapping[];
  /** The pod's addresses with the prefix length of their subnets. */
  readonly addresses: readonly string[];
  /** The host's interfaces that the previous plugins created. */
  readonly hostInterfaces: readonly string[];
  /**
   * Which connections to the ports are masqueraded: those of the pod's subnet and the host itself, all, or
   * none.
   */
  readonly masquerade: 'near' | 'all' | 'none';
  /** Which packets are led to the pod, by family. Absent or empty: all. */
  readonly conditions?: Readonly<Partial<Record<IpFamily, readonly Condition[]>>>;
}

const protocolNumbers: Readonly<Record<PortMapping['protocol'], number>> = { tcp: 6, udp: 17, sctp: 132 };
const families: readonly IpFamily[] = [4, 6];

interface Deps {
  readonly elements: readonly MapElement[];
  readonly chains: readonly SharedChain[];
}

function prefixesOf({ addresses }: HostPorts, family: IpFamily): IpPrefix[] {
  return addresses
    .flatMap((text) => parsePrefix(text) ?? [])
    .filter(({ address }) => address.family === family);
}

function partsOf(resource: HostPorts, family: IpFamily): Deps {
  // A host port leads to one address: the first one of each family, as upstream.
  const prefix = prefixesOf(resource, family)[0];
  if (prefix === undefined) return { elements: [], chains: [] };
  const chain = returningChain(prefix);
  const conditions = resource.conditions?.[family] ?? [];
  const guard = conditions.length === 0 ? undefined : guardChain(family, conditions);
  const elements = resource.mappings.flatMap((mapping) =>
    elementsOf(mapping, prefix, resource.masquerade, { returning: chain.name, guard: guard?.name }),
  );
  if (elements.length === 0) return { elements, chains: [] };
  return {
    elements,
    chains: [...(guard === undefined ? [] : [guard]), ...(resource.masquerade === 'near' ? [chain] : [])],
  };
}

function elementsOf(
  mapping: PortMapping,
  pod: IpPrefix,
  masquerade: HostPorts['masquerade'],
  chains: { readonly returning: string; readonly guard: string | undefined },
): MapElement[] {
  const { family } = pod.address;
  const hostIp = mapping.hostIp === undefined || mapping.hostIp === '' ? undefined : parseIp(mapping.hostIp);
  if (hostIp !== undefined && hostIp.family !== family) return [];
  const everywhere = hostIp === undefined || hostIp.value === 0n;
  const protocol = Buffer.of(protocolNumbers[mapping.protocol]);
  const port = concatenated(protocol, be16(mapping.hostPort));
  const value = concatenated(ipBytes(pod.address), be16(mapping.containerPort));
  const at = everywhere ? '' : `${formatIp(hostIp)}:`;
  const what = `host port ${at}${mapping.hostPort}/${mapping.protocol} to ${formatIp(pod.address)}:${mapping.containerPort}`;
  const lead: MapElement = everywhere
    ? { family, map: maps.anyHostPorts, element: { key: port, value }, what }
    : { family, map: maps.hostPorts, element: { key: concatenated(ipBytes(hostIp), port), value }, what };
  const guards: MapElement[] =
    chains.guard === undefined
      ? []
      : [
          {
            family,
            map: everywhere ? maps.anyGuards : maps.guards,
            element: { key: lead.element.key, value: { jump: chains.guard } },
            what: `conditions of ${what}`,
          },
        ];
  // Elements that are removed one at a time go in this order: without the guard the port is open to all.
  if (masquerade === 'none') return [lead, ...guards];
  const answer: MapElement = {
    family,
    map: maps.forwarded,
    element: {
      key: concatenated(port, value),
      value: { jump: masquerade === 'all' ? masqueradeAll : chains.returning },
    },
    what: `masquerade for ${what}`,
  };
  return [lead, ...guards, answer];
}

/**
 * Deletes tracked UDP connections to a former holder of the port, which would still get them. A TCP
 * connection ends by itself.
 */
function forget(resource: HostPorts, { host }: ResourceKernel, keepOwn: boolean): void {
  const ports = resource.mappings.filter(({ protocol }) => protocol === 'udp');
  const stale = families.flatMap((family) => {
    const own = prefixesOf(resource, family)[0];
    if (own === undefined) return [];
    return ports.map(({ protocol, hostPort }) => ({
      family: family === 4 ? (2 as const) : (10 as const),
      protocol: protocolNumbers[protocol],
      port: hostPort,
      ...(keepOwn ? { unless: ipBytes(own.address) } : {}),
    }));
  });
  forgetConnections(host.filter, host.route, stale);
}

/**
 * Returns the link that the pod is behind, whichever plugin made it: a connection from 127.0.0.1 leaves by
 * it. Undefined when there is none, or none is needed.
 */
function linkOfLoopback(resource: HostPorts, { host }: ResourceKernel): number | undefined {
  const own = prefixesOf(resource, 4)[0];
  if (resource.masquerade === 'none' || own === undefined) return undefined;
  try {
    const answer = host.route.ask(lookUpRoute(ipBytes(own.address)))[0];
    const index = answer === undefined ? 0 : readRouteLink(answer);
    return index > 1 ? index : undefined;
  } catch (thrown) {
    // Nothing leads to the pod yet: this host does not route the address.
    if (isRefusal(thrown, 'ENETUNREACH', 'EHOSTUNREACH')) return undefined;
    throw thrown;
  }
}

function letLoopbackOut(resource: HostPorts, kernel: ResourceKernel): void {
  const index = linkOfLoopback(resource, kernel);
  if (index !== undefined) kernel.host.route.run([setRouteLocalnet({ index })]);
}

function loopbackDifferences(resource: HostPorts, kernel: ResourceKernel): string[] {
  const index = linkOfLoopback(resource, kernel);
  const name = index === undefined ? undefined : lookUp(kernel.host.route, { index })?.name;
  if (name === undefined) return [];
  const file = (link: string): string => `/proc/sys/net/ipv4/conf/${link}/route_localnet`;
  const isOn = kernel.inHost(() =>
    ['all', name].some((link) => existsSync(file(link)) && readFileSync(file(link), 'utf8').trim() === '1'),
  );
  return isOn ? [] : [`${file(name)} is off: host ports of 127.0.0.1 do not lead to the pod`];
}

/**
 * Where bridged frames pass the rules of ip (br_netfilter), a pod that calls its own host port is answered on
 * its own bridge port: the bridge must send a frame back where it came from.
 */
function letPodsCallThemselves(resource: HostPorts, { host, inHost }: ResourceKernel): void {
  const filtered = (name: string): boolean => {
    const file = `/proc/sys/net/bridge/bridge-nf-call-${name}`;
    return existsSync(file) && readFileSync(file, 'utf8').trim() === '1';
  };
  if (resource.masquerade === 'none' || !inHost(() => filtered('iptables') || filtered('ip6tables'))) return;
  for (const name of resource.hostInterfaces) {
    const link = lookUp(host.route, { name });
    if (link?.portState !== undefined && link.hairpin !== true)
      host.route.run([setPortUp({ index: link.index }, { hairpin: true, noOwnIpv6: false })]);
  }
}

export const hostPortsType: ResourceType<HostPorts> = {
  kind: 'host-ports',
  hostPorts: ({ mappings }) => mappings,
  ensure(resource, kernel) {
    for (const family of families) {
      const { elements, chains } = partsOf(resource, family);
      if (putElements(kernel.host.filter, family, elements, chains)) kernel.foundGone?.();
    }
    letLoopbackOut(resource, kernel);
    letPodsCallThemselves(resource, kernel);
    forget(resource, kernel, true);
  },
  differences(resource, kernel) {
    const ofFamilies = families.flatMap((family) => {
      const { elements, chains } = partsOf(resource, family);
      return missingElements(kernel.host.filter, family, elements, chains);
    });
    return [...ofFamilies, ...loopbackDifferences(resource, kernel)];
  },
  remove(resource, kernel) {
    for (const family of families) {
      const { elements, chains } = partsOf(resource, family);
      takeElements(kernel.host.filter, family, elements, chains);
    }
    forget(resource, kernel, false);
  },
};

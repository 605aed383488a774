import { PortcullisError } from '../../../base/errors/index.ts';
import type { ChainJob, ChainLink } from '../../calls/chain.types.ts';
import type { LoadedNetwork } from '../../spec/conf-folder.ts';
import { isInterfaceName } from '../../spec/interface-name.ts';
import type { CniResult } from '../../spec/result.ts';
import type { AttachRequest, PortMapping } from '../../types.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { addressesIn, heldLinkOf, interfaceIn } from '../../links/enforced-links.ts';
import { hostInterfaceOf, isByChain, linkToBeMade } from '../../database/record.ts';
import type { AttachmentRecord, AttachmentSpec } from '../../database/record.ts';

/** Interfaces of pods that chains of plugins create: the records before and after they run. */

/** @param first the index of the first network's interface: `eth0`, `eth1` … */
export function chainLinks(
  networks: readonly LoadedNetwork[],
  first: number,
  request: AttachRequest,
  mappings: readonly PortMapping[],
): ChainLink[] {
  const portMappings = mappings.map(({ hostPort, containerPort, protocol, hostIp }) => ({
    hostPort,
    containerPort,
    protocol,
    ...(hostIp !== undefined && { hostIP: hostIp }),
  }));
  return networks.map(({ name, list, way }, index) => ({
    network: name,
    interface: `eth${first + index}`,
    // A network that the engine would create itself as the first one is a chain of our plugins as a later
    // one.
    way: way === 'exec' ? 'exec' : 'in-process',
    list,
    // A host port leads to the pod's first interface.
    capabilityArgs: {
      ...request.capabilities,
      ...(portMappings.length > 0 && first + index === 0 && { portMappings }),
    },
  }));
}

/**
 * Returns interfaces that a pod requests beside those of every pod. Each network defines which pods may
 * request it.
 * @param taken names of interfaces that the pod has in any case
 * @throws NETWORK_UNKNOWN · NETWORK_NOT_OPEN · NETWORK_INTERFACE_INVALID
 */
export function furtherLinks(
  { networks = [], pod, capabilities }: AttachRequest,
  named: (name: string) => LoadedNetwork | undefined,
  taken: readonly string[],
): ChainLink[] {
  const names = new Set(taken);
  return networks.map(({ network: name, interface: wanted, ips = [], mac }, index) => {
    const network = named(name);
    if (network === undefined) throw unknownNetwork(name, pod);
    const open = network.list.podNamespaces ?? [];
    if (!open.includes('*') && !open.includes(pod.namespace)) throw notOpen(name, pod);
    const ifname = wanted ?? `net${index + 1}`;
    if (!isInterfaceName(ifname) || ifname === 'lo' || names.has(ifname)) throw badInterface(ifname, pod);
    names.add(ifname);
    const capabilityArgs = {
      ...capabilities,
      ...(ips.length > 0 && { ips }),
      ...(mac !== undefined && { mac }),
    };
    return {
      network: name,
      interface: ifname,
      way: network.way === 'exec' ? 'exec' : 'in-process',
      list: network.list,
      capabilityArgs,
    };
  });
}

/** Returns what is known before the plugins have created anything. */
export function chainSpec(
  request: AttachRequest,
  chains: readonly ChainLink[],
  forwarded: readonly PortMapping[],
): AttachmentSpec {
  return {
    network: chains[0]?.network ?? '',
    pod: request.pod,
    netns: request.netns,
    hostInterface: hostInterfaceOf(request.id),
    interface: 'eth0',
    ...linkToBeMade,
    chains,
    forwarded,
  };
}

export const jobOf = ({ id, spec }: AttachmentRecord, exists: (netns: string) => boolean): ChainJob => ({
  id,
  netns: exists(spec.netns) ? spec.netns : '',
  pod: { name: spec.pod.name, namespace: spec.pod.namespace, uid: spec.pod.uid },
  links: spec.chains ?? [],
});

/**
 * Returns what is known after all plugins have finished: each interface as its last plugin reported it, and
 * the links on which our rules can be enforced.
 * @throws NETWORK_NO_ADDRESS
 */
export function specOfResults(
  id: string,
  before: AttachmentSpec,
  results: readonly CniResult[],
  kernel: Pick<HostKernel, 'addressesOf' | 'link' | 'linkAt' | 'routeOf'>,
): AttachmentSpec {
  const chains = (before.chains ?? []).map((link, index) => {
    const result = results[index];
    return result === undefined ? link : { ...link, result };
  });
  const spec = { ...before, chains };
  const [first] = results;
  const byChain = isByChain(spec) && first !== undefined;
  const reported = byChain ? firstOf(id, spec, first, kernel) : spec;
  const further = chains.slice(byChain ? 1 : 0).flatMap((link) => heldLinkOf(link, kernel) ?? []);
  return further.length === 0 ? reported : { ...reported, further };
}

/** Describes the pod's first interface if the engine did not create it itself. */
function firstOf(
  id: string,
  spec: AttachmentSpec,
  result: CniResult,
  kernel: Parameters<typeof specOfResults>[3],
): AttachmentSpec {
  const addresses = addressesIn(result, spec.interface);
  if (addresses.length === 0) throw noAddress(id, spec.network);
  const own = interfaceIn(result, spec.interface);
  const reported: AttachmentSpec = {
    ...spec,
    mac: own?.mac ?? '',
    mtu: own?.mtu ?? 0,
    addresses,
    routes: result.routes.map(({ dst, gw }) => ({ dst, ...(gw !== undefined && { gw }) })),
  };
  const held = heldLinkOf({ network: spec.network, interface: spec.interface, result }, kernel);
  if (held === undefined) return { ...reported, held: false };
  const { hostInterface, bridge } = held;
  return {
    ...reported,
    mtu: reported.mtu === 0 ? held.mtu : reported.mtu,
    hostInterface,
    ...(bridge === undefined ? { routed: true } : { bridge }),
    held: true,
  };
}

const ofPod = ({ namespace, name }: AttachRequest['pod']): string =>
  `attach the pod ${namespace}/${name} to the network that it requests`;

function unknownNetwork(network: string, pod: AttachRequest['pod']): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_UNKNOWN',
    kind: 'not-found',
    attempted: ofPod(pod),
    on: network,
    why: 'the conf folder of this node has no usable network of that name',
    fix: "correct the pod's annotation, or create the network: portcullis network ls",
  });
}

function notOpen(network: string, pod: AttachRequest['pod']): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NOT_OPEN',
    kind: 'precondition',
    attempted: ofPod(pod),
    on: network,
    why: `it is not open to pods of the namespace ${pod.namespace}`,
    fix: `add "podNamespaces": [${JSON.stringify(pod.namespace)}] to the network's file, beside its name`,
  });
}

function badInterface(name: string, pod: AttachRequest['pod']): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_INTERFACE_INVALID',
    kind: 'invalid',
    attempted: ofPod(pod),
    on: name,
    why: 'it is not a valid name of an interface, or the pod already has an interface of that name',
    fix: "correct the interface in the pod's annotation",
  });
}

function noAddress(id: string, network: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NO_ADDRESS',
    kind: 'precondition',
    attempted: `attach sandbox ${id} to the network`,
    on: network,
    why: 'the result of its plugins has no address for the pod',
    fix: "give the configuration an address plugin ('ipam')",
  });
}

/** @param what the class or rules that need the host's end of the link */
export function notHeld(id: string, network: string, what: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_RULES_UNSUPPORTED',
    kind: 'precondition',
    attempted: `enforce on the links of sandbox ${id}`,
    on: what,
    why: `the plugins of network ${network} created no interface on the host in their result (macvlan, ipvlan, a device of the host), so our rules cannot be applied to it`,
    fix: 'use a network of the plugin bridge or ptp, or a profile of the class network.user or wider without peer rules',
  });
}

import { parseJson } from '../../../base/json/index.ts';
import { PortcullisError } from '../../../base/errors/index.ts';
import { formatIp, ipBytes, parseIpOrMapped } from '../../../base/addresses/index.ts';
import { distinctMappings } from '../../spec/host-ports.ts';
import { refuseSmallMtu } from '../../spec/ipv6-mtu.ts';
import type { ChainedPlugin, NetworkConfig } from '../../spec/network-config.ts';
import type { AttachRequest, PortMapping } from '../../types.ts';
import type { HostEnd } from '../../database/host-sockets.ts';
import type { Choice } from '../../database/ipam.ts';
import { hostInterfaceOf, macOf } from '../../database/record.ts';
import type { AttachmentSpec } from '../../database/record.ts';

/** Converts a request and a network to the desired state in the kernel. Pure. */

/**
 * Returns the mappings that a network forwards: those with a host port, without duplicates.
 * @throws NETWORK_BAD_PORT_MAPPING
 */
export function checkedMappings(request: AttachRequest): PortMapping[] {
  const label = (mapping: PortMapping): string =>
    `${mapping.hostIp ?? ''}:${mapping.hostPort}/${mapping.protocol} to ${mapping.containerPort}`;
  const refuse = (mapping: PortMapping, why: string): never => {
    throw badMapping(request, label(mapping), why);
  };
  const mappings = request.portMappings
    .filter(({ hostPort }) => hostPort !== 0)
    .map((mapping): PortMapping => {
      const { hostIp: given = '', ...rest } = mapping;
      const hostIp = given === '' ? undefined : parseIpOrMapped(given);
      if (!isPort(mapping.hostPort) || !isPort(mapping.containerPort))
        refuse(mapping, 'a port must be 1 to 65535');
      if (!['tcp', 'udp', 'sctp'].includes(mapping.protocol))
        refuse(mapping, 'the protocol must be tcp, udp or sctp');
      if (hostIp === undefined && given !== '')
        refuse(mapping, `${JSON.stringify(given)} is not an IP address`);
      return hostIp === undefined ? rest : { ...rest, hostIp: formatIp(hostIp) };
    });
  return distinctMappings(mappings, (mapping, port) =>
    refuse(mapping, `the host port is mapped to ${port} as well`),
  );
}

const firstUnprivileged = 1024;

/**
 * Refuses a host port that the network does not open.
 * @param portmap configuration of the network's plugin portmap: `privilegedPorts`, `heldPorts`
 * @throws NETWORK_HOST_PORT_CLOSED
 */
export function refuseHostPort(
  portmap: Readonly<Record<string, unknown>>,
  { protocol, hostPort, hostIp = '' }: PortMapping,
  isHeld: (end: HostEnd) => boolean,
): void {
  const isLow = hostPort < firstUnprivileged && portmap['privilegedPorts'] !== true;
  if (!isLow && (portmap['heldPorts'] === true || !isHeld({ protocol, port: hostPort, hostIp }))) return;
  const field = isLow ? 'privilegedPorts' : 'heldPorts';
  throw new PortcullisError({
    code: 'NETWORK_HOST_PORT_CLOSED',
    kind: 'denied',
    attempted: 'take the host port',
    on: `${hostPort}/${protocol}`,
    why: isLow
      ? 'it is below 1024, and the network does not open such ports to pods'
      : 'a program of the host has a socket there, and clients could no longer reach it',
    fix: `take another host port, or set "${field}": true at the plugin portmap in the network's file`,
    details: { port: hostPort, protocol },
  });
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65535;

function badMapping(request: AttachRequest, label: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BAD_PORT_MAPPING',
    kind: 'invalid',
    attempted: `attach sandbox ${request.id} with the port mapping`,
    on: label,
    why,
    fix: "correct the pod's hostPort",
  });
}

/** @throws NETWORK_MTU_TOO_SMALL */
export function specOf(
  request: AttachRequest,
  network: NetworkConfig,
  portMappings: readonly PortMapping[],
  choices: readonly Choice[],
  mtu: number,
): AttachmentSpec {
  const ordered = choices.toSorted((a, b) => a.address.family - b.address.family);
  const addresses = ordered.map(({ address, range }) => ({
    ip: formatIp(address),
    prefixLength: range.subnet.length,
    gateway: formatIp(range.gateway),
  }));
  refuseSmallMtu(
    'eth0',
    mtu,
    addresses.map(({ ip }) => ip),
  );
  const ranges = network.rangeSets.flat();
  const gateways = [...new Map(ordered.map(({ range }) => [formatIp(range.gateway), range])).values()];
  const first = ranges[0];
  return {
    network: network.name,
    pod: request.pod,
    netns: request.netns,
    hostInterface: hostInterfaceOf(request.id),
    interface: 'eth0',
    mac: ordered[0] === undefined ? macOf(Buffer.from(request.id)) : macOf(ipBytes(ordered[0].address)),
    mtu,
    bridge: {
      name: network.bridge.name,
      mac: macOf(first === undefined ? Buffer.from(network.bridge.name) : ipBytes(first.gateway)),
      addresses: network.bridge.isGateway
        ? gateways.map((range) => `${formatIp(range.gateway)}/${range.subnet.length}`)
        : [],
      // If bridged frames pass the ip hooks (bridge-nf-call-iptables), a pod that reaches itself through a
      // service or a host port is answered on its own bridge port. A promiscuous bridge would deliver each
      // frame twice.
      hairpin: !network.bridge.promiscuous,
      promiscuous: network.bridge.promiscuous,
    },
    addresses,
    routes: routesOf(network, ordered),
    portMappings,
    snat: network.portMap?.snat ?? false,
    masquerade: network.bridge.ipMasq,
    ...(request.ownStack === true && { ownStack: true }),
    ...(network.chained.length === 0
      ? {}
      : { chained: network.chained.map((plugin) => withArguments(plugin, request.capabilities ?? {})) }),
    subnets: [...new Set(ranges.map(({ subnet }) => `${formatIp(subnet.address)}/${subnet.length}`))],
  };
}

/** As libcni: a plugin receives the arguments that it declares. */
function withArguments(
  { type, config }: ChainedPlugin,
  given: Readonly<Record<string, unknown>>,
): ChainedPlugin {
  const document = parseJson(config) as { readonly capabilities?: Readonly<Record<string, unknown>> };
  const declared = Object.entries(given).filter(([name]) => document.capabilities?.[name] === true);
  return declared.length === 0
    ? { type, config }
    : { type, config: JSON.stringify({ ...document, runtimeConfig: Object.fromEntries(declared) }) };
}

/**
 * Returns the conflist's routes, and a default route through the gateway if the network is a default gateway.
 */
function routesOf(network: NetworkConfig, choices: readonly Choice[]): AttachmentSpec['routes'] {
  const given = network.routes.flatMap(({ destination, gateway }) => {
    const own = choices.find(({ address }) => address.family === destination.address.family);
    if (own === undefined) return [];
    const via = gateway ?? own.range.gateway;
    return [{ dst: `${formatIp(destination.address)}/${destination.length}`, gw: formatIp(via) }];
  });
  const defaults = network.bridge.isDefaultGateway
    ? choices
        .map(({ address, range }) => ({
          dst: address.family === 4 ? '0.0.0.0/0' : '::/0',
          gw: formatIp(range.gateway),
        }))
        .filter(({ dst }) => !given.some((route) => route.dst === dst))
    : [];
  return [...given, ...defaults];
}

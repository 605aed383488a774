import { hash } from 'node:crypto';
import { PortcullisError } from '../../../base/errors/index.ts';
import { lookUp } from '../../../base/netlink/index.ts';
import { formatIp, ipBytes, networkOf } from '../../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../../base/addresses/index.ts';
import type { CniResult, CniRoute } from '../../spec/result.ts';
import type { LeasedAddress, Plan, Plugin, PlanInput, Resource } from '../contract/contract.ts';
import type { PodAddresses } from '../interface/pod-addresses.ts';
import { routesVia } from '../interface/settings.ts';
import { masqueradeOf } from '../nat/masquerade-type.ts';
import { gatewayConflict, observeBridge, planBridge } from './bridge-type.ts';
import type { BridgeLinkResource, ObservedBridge } from './bridge-type.ts';
import { readBridgeConfig } from './config.ts';
import type { BridgeConfig } from './config.ts';
import type { MacGuard } from './mac-guard-type.ts';
import type { VethPort } from './veth-port-type.ts';

/**
 * A veth pair between the pod and a bridge of the host: `bridge` of the upstream plugins, with its result.
 * Pure.
 */
export const bridge: Plugin<BridgeConfig> = {
  type: 'bridge',
  role: 'interface',
  capabilities: ['mac', 'ips', 'ipRanges', 'dns'],
  read: readBridgeConfig,
  /** An existing bridge keeps its own MAC. */
  observe: (config, { host }) => observeBridge(host.route, config.bridge),
  unavailable(config, host, addresses) {
    const link = lookUp(host, { name: config.bridge });
    if (link === undefined) return undefined;
    if (link.kind !== 'bridge')
      return `${config.bridge} is not a bridge, but a link of kind ${link.kind === '' ? 'hardware' : link.kind}`;
    if (config.forceAddress) return undefined;
    const conflict = gatewayConflict(host, link, config.vlan, gatewaysOf(config, addresses));
    return conflict === undefined ? undefined : `the bridge ${config.bridge} cannot be used: ${conflict}`;
  },
  // The host would take the address that the DHCP server names as the router.
  laterAddresses: ({ isGateway }) =>
    isGateway
      ? "the router of the DHCP server is the gateway of the pods, and the bridge cannot have its address: remove 'isGateway' and 'isDefaultGateway'"
      : undefined,
  plan(config, input): Plan {
    const { addresses, addressesLater: later = false } = input;
    if (config.hasAddressPlugin && addresses.length === 0 && !later) throw noAddress(input);
    const gateways = gatewaysOf(config, addresses);
    const hostMac = hostMacOf(input.hostInterface);
    const mac =
      config.mac ??
      macOf(
        addresses[0] === undefined || later
          ? Buffer.from(input.hostInterface)
          : ipBytes(addresses[0].address.address),
      );
    const existing = input.observed as ObservedBridge | undefined;
    const bridgeMac =
      existing?.mac ??
      macOf(gateways[0] === undefined ? Buffer.from(config.bridge) : ipBytes(gateways[0].address));
    const mtu = config.mtu ?? input.host.defaultMtu;
    const routes = routesOf(config, input);
    const link: BridgeLinkResource = {
      kind: 'bridge',
      name: config.bridge,
      mac: bridgeMac,
      ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
      addresses: gateways.map(prefixText),
      forceAddress: config.forceAddress,
      promiscuous: config.promiscuous,
      vlan: config.vlan,
      filtersVlans: config.vlan !== 0 || config.trunk.length > 0,
    };
    const port: VethPort = {
      kind: 'veth-port',
      bridge: config.bridge,
      hostInterface: input.hostInterface,
      hostMac,
      interface: input.key.interface,
      mac,
      mtu,
      enabled: !config.disableContainerInterface,
      hairpin: config.hairpin,
      isolated: config.isolated,
      ...(input.bound === true && { bound: true }),
      vlan: config.vlan,
      trunk: config.trunk,
      keepDefaultVlan: config.preserveDefaultVlan,
    };
    const inside: PodAddresses = {
      kind: 'pod-addresses',
      interface: input.key.interface,
      addresses: addresses.map(({ address }) => prefixText(address)),
      routes: routesVia(routes, addresses),
      prefixRoutes: true,
      announces: true,
      ...(config.duplicateAddressDetection ? { detectsDuplicates: true } : {}),
    };
    const guard: MacGuard[] = config.macSpoofCheck
      ? [{ kind: 'mac-guard', hostInterface: input.hostInterface, mac }]
      : [];
    const masquerade = config.ipMasq ? masqueradeOf(addresses) : [];
    const resources: Resource[] = [
      // By the second plan, the bridge may have been replaced.
      planBridge(link, later ? undefined : existing),
      ...guard,
      ...masquerade,
      port,
      ...(config.disableContainerInterface ? [] : [inside]),
    ];
    const result: CniResult = {
      interfaces: [
        { name: config.bridge, mac: bridgeMac },
        { name: input.hostInterface, mac: hostMac },
        { name: input.key.interface, mac, mtu, sandbox: input.netns },
      ],
      ips: addresses.map(({ address, gateway }) => {
        const via =
          gateway ??
          (config.isGateway
            ? gatewayOf({ address, subnet: { address: networkOf(address), length: address.length } }).address
            : undefined);
        return {
          interface: 2,
          address: prefixText(address),
          ...(via === undefined ? {} : { gateway: formatIp(via) }),
        };
      }),
      routes,
      dns: config.dns ?? input.dns,
    };
    return { resources, result };
  },
};

const prefixText = ({ address, length }: IpPrefix): string => `${formatIp(address)}/${length}`;

/** Returns the gateway. Where the address plugin gives none: the first address of the subnet, as upstream. */
function gatewayOf({ address, gateway, subnet }: LeasedAddress): IpPrefix {
  const chosen: IpAddress = gateway ?? { family: subnet.address.family, value: networkOf(subnet).value + 1n };
  return { address: chosen, length: address.length };
}

const gatewaysOf = ({ isGateway }: BridgeConfig, addresses: readonly LeasedAddress[]): IpPrefix[] =>
  isGateway ? addresses.map(gatewayOf) : [];

/**
 * Returns the routes of the address plugin, and a default route through the gateway of each family that has
 * none.
 */
function routesOf(config: BridgeConfig, { addresses, ipamRoutes }: PlanInput): CniRoute[] {
  const defaults = config.isDefaultGateway
    ? addresses.map((own): CniRoute => ({
        dst: own.address.address.family === 4 ? '0.0.0.0/0' : '::/0',
        gw: formatIp(gatewayOf(own).address),
      }))
    : [];
  const families = new Map(defaults.map((route) => [route.dst, route]));
  return [
    ...ipamRoutes,
    ...[...families.values()].filter(({ dst }) => !ipamRoutes.some((route) => route.dst === dst)),
  ];
}

/**
 * Derives a locally administered MAC from the address, so that an address that is leased again has the MAC
 * that its neighbours know.
 */
function macOf(seed: Uint8Array): string {
  const tail = seed.length === 4 ? Buffer.from(seed) : hash('sha256', seed, 'buffer').subarray(0, 4);
  return `0a:58:${tail.toString('hex').replace(/..(?=.)/gu, '$&:')}`;
}

/** Derives the MAC of the host's end from its name, which contains a hash. */
function hostMacOf(hostInterface: string): string {
  const digits = /[0-9a-f]{8}$/u.exec(hostInterface)?.[0];
  return macOf(digits === undefined ? Buffer.from(`host ${hostInterface}`) : Buffer.from(digits, 'hex'));
}

function noAddress({ key }: PlanInput): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CONFIG_INVALID',
    kind: 'invalid',
    attempted: 'give an address to the interface',
    on: `${key.network}/${key.containerId}/${key.interface}`,
    why: 'the address plugin gave none',
    fix: "correct 'ipam', or remove it for an interface without addresses",
  });
}

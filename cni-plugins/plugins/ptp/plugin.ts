import { PortcullisError } from '../../../base/errors/index.ts';
import { formatIp, networkOf } from '../../../base/addresses/index.ts';
import type { CniDns } from '../../spec/result.ts';
import type { LeasedAddress, Plugin } from '../contract/contract.ts';
import { addressesMissing } from '../interface/failures.ts';
import { macOf } from '../interface/link-names.ts';
import type { PodAddresses, PodRoute } from '../interface/pod-addresses.ts';
import { ipsOf, readDns, readMtu, routesVia } from '../interface/settings.ts';
import { masqueradeOf } from '../nat/masquerade-type.ts';
import type { RoutedPair } from './routed-pair.ts';

interface PtpConfig {
  readonly ipMasq: boolean;
  readonly mtu?: number;
  readonly dns?: CniDns;
}

/**
 * A veth pair that the host routes. There is no bridge; every packet passes the gateway. Fields and semantics
 * of the upstream plugin ptp.
 */
export const ptp: Plugin<PtpConfig> = {
  type: 'ptp',
  role: 'interface',
  capabilities: ['ips', 'dns'],
  read(config) {
    const backend = config.text('ipMasqBackend') ?? '';
    if (!['', 'nftables'].includes(backend)) config.unsupported('ipMasqBackend', 'nftables is');
    const mtu = readMtu(config);
    const dns = readDns(config);
    return {
      ipMasq: config.flag('ipMasq', false),
      ...(mtu === undefined ? {} : { mtu }),
      ...(dns === undefined ? {} : { dns }),
    };
  },
  plan(config, input) {
    const { addresses } = input;
    if (addresses.length === 0) throw addressesMissing('ptp');
    const name = input.key.interface;
    const mtu = config.mtu ?? input.host.defaultMtu;
    const hostMac = macOf('ptp host', input.key);
    const mac = macOf('ptp', input.key);
    const ips = ipsOf(addresses, 1);
    const pair: RoutedPair = {
      kind: 'routed-pair',
      hostInterface: input.hostInterface,
      hostMac,
      interface: name,
      mac,
      mtu,
      ...(input.bound === true && { bound: true }),
      ends: addresses.map((own) => ({
        gateway: formatIp(gatewayOf(own)),
        pod: formatIp(own.address.address),
      })),
    };
    const podAddresses: PodAddresses = {
      kind: 'pod-addresses',
      interface: name,
      addresses: ips.map(({ address }) => address),
      routes: [...addresses.flatMap(routesByGateway), ...routesVia(input.ipamRoutes, addresses)],
      prefixRoutes: false,
      announces: false,
    };
    return {
      resources: [pair, ...(config.ipMasq ? masqueradeOf(addresses) : []), podAddresses],
      result: {
        interfaces: [
          { name: input.hostInterface, mac: hostMac },
          { name, mac, mtu, sandbox: input.netns },
        ],
        ips,
        routes: input.ipamRoutes,
        dns: config.dns ?? input.dns,
      },
    };
  },
};

function gatewayOf({ address, gateway }: LeasedAddress): NonNullable<LeasedAddress['gateway']> {
  if (gateway !== undefined && gateway.family === address.address.family) return gateway;
  throw new PortcullisError({
    code: 'NETWORK_GATEWAY_MISSING',
    kind: 'invalid',
    attempted: 'plan the interface',
    on: 'ptp',
    why: `the address ${formatIp(address.address)} has no gateway`,
    fix: "give each address a 'gateway': it is the address of the host's end",
  });
}

/** The gateway is at the other end, and the address's network is reached through it. */
function routesByGateway(own: LeasedAddress): PodRoute[] {
  const { address } = own;
  const gateway = formatIp(gatewayOf(own));
  const src = formatIp(address.address);
  const whole = address.address.family === 4 ? 32 : 128;
  const toGateway: PodRoute = {
    dst: `${gateway}/${whole}`,
    src,
    ...(address.address.family === 4 ? { scope: 253 } : {}),
  };
  return address.length === whole
    ? [toGateway]
    : [toGateway, { dst: `${formatIp(networkOf(address))}/${address.length}`, gw: gateway, src }];
}

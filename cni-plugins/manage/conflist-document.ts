import { formatIp, networkOf, parsePrefix } from '../../base/addresses/index.ts';
import { zoneOf } from '../spec/domain.ts';
import type { NewNetwork } from './new-network.ts';

/** Returns the network configuration list of a network (CNI specification 1.0.0, section 1). Pure. */
export function documentOf({
  name,
  type,
  subnets,
  gateways,
  mtu,
  link,
  masquerade,
  separated,
  internal,
  podNamespaces,
}: NewNetwork): object {
  const ipam = {
    type: 'portcullis-ipam',
    ranges: subnets.map((subnet, index) => [
      { subnet, ...(gateways[index] !== undefined && { gateway: gateways[index] }) },
    ]),
    // A bridge that is the default gateway adds that route itself.
    ...(type !== 'bridge' && {
      routes: subnets.map((subnet) => ({ dst: subnet.includes(':') ? '::/0' : '0.0.0.0/0' })),
    }),
  };
  const common = { ...(mtu !== undefined && { mtu }), ipam };
  const first = {
    bridge: {
      type: 'portcullis-bridge',
      ...(link !== undefined && { bridge: link }),
      ...(internal ? { isGateway: true } : { isDefaultGateway: true }),
      ipMasq: masquerade && !internal,
      // The load balancer may connect a member of a service to the member itself.
      hairpinMode: true,
      // The result reports this to the caller: the gateways answer DNS queries.
      dns: {
        nameservers: subnets.flatMap((subnet, index) => gateways[index] ?? firstOf(subnet)),
        search: [zoneOf(name)],
      },
      ...common,
    },
    ptp: { type: 'portcullis-ptp', ipMasq: masquerade, ...common },
    macvlan: { type: 'portcullis-macvlan', ...(link !== undefined && { master: link }), ...common },
    ipvlan: { type: 'portcullis-ipvlan', ...(link !== undefined && { master: link }), ...common },
  }[type];
  const routed = (type === 'bridge' || type === 'ptp') && !internal;
  const policy = internal ? 'internal' : type === 'bridge' && separated ? 'same-bridge' : undefined;
  return {
    cniVersion: '1.0.0',
    name,
    ...(podNamespaces.length > 0 && { podNamespaces }),
    plugins: [
      {
        ...first,
        capabilities: {
          aliases: true,
          ips: true,
          services: true,
          ...(type !== 'ptp' && type !== 'ipvlan' && { mac: true }),
        },
      },
      ...(routed ? [{ type: 'portcullis-portmap', capabilities: { portMappings: true } }] : []),
      // Chains of other programs keep their own verdicts. Without these rules they would drop this traffic as
      // well.
      ...(policy === undefined
        ? []
        : [{ type: 'portcullis-firewall', ingressPolicy: policy, backend: 'nftables' }]),
    ],
  };
}

/**
 * Returns the default gateway of a subnet. Returns an empty list if the text is not a subnet; reading the
 * file reports that.
 */
function firstOf(subnet: string): string[] {
  const prefix = parsePrefix(subnet);
  if (prefix === undefined) return [];
  const { family, value } = networkOf(prefix);
  return [formatIp({ family, value: value + 1n })];
}

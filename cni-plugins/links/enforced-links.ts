import type { ChainLink } from '../calls/chain.types.ts';
import { formatIp, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { CniResult } from '../spec/result.ts';
import type { HostKernel } from './host-kernel.ts';
import type { AttachmentSpec, HeldLink } from '../database/record.ts';

/**
 * Links of plugins on which our rules can be enforced, according to the plugin's result as far as the kernel
 * confirms it.
 */

/** Returns the addresses, IPv4 first. */
export function addressesIn(result: CniResult, name: string): AttachmentSpec['addresses'] {
  const at = indexIn(result, name);
  return result.ips
    .filter(({ interface: index }) => index === undefined || at < 0 || index === at)
    .flatMap(({ address, gateway }) => {
      const prefix = parsePrefix(address);
      return prefix === undefined
        ? []
        : [{ ip: formatIp(prefix.address), prefixLength: prefix.length, gateway: gateway ?? '' }];
    })
    .toSorted((a, b) => Number(a.ip.includes(':')) - Number(b.ip.includes(':')));
}

export const interfaceIn = (result: CniResult, name: string): CniResult['interfaces'][number] | undefined =>
  result.interfaces[indexIn(result, name)];

const indexIn = ({ interfaces }: CniResult, wanted: string): number =>
  interfaces.findIndex(({ name, sandbox }) => name === wanted && (sandbox ?? '') !== '');

/**
 * Returns the link on which the rules apply: the host's end of the veth pair, which is a port of a bridge, or
 * the end through which the host routes to all its addresses.
 * @returns undefined if there is no such end, as with macvlan, ipvlan and devices of the host, or if the
 * result does not report it; docs/decisions/0043
 */
export function heldLinkOf(
  { network, interface: name, result }: Pick<ChainLink, 'interface' | 'network' | 'result'>,
  kernel: Pick<HostKernel, 'addressesOf' | 'link' | 'linkAt' | 'routeOf'>,
): (HeldLink & { readonly mtu: number }) | undefined {
  if (result === undefined) return undefined;
  const addresses = addressesIn(result, name);
  const mac = interfaceIn(result, name)?.mac ?? '';
  const [end, ...more] = result.interfaces
    .filter(({ sandbox }) => (sandbox ?? '') === '')
    .flatMap((reported) => kernel.link(reported.name) ?? [])
    .filter(({ kind }) => kind === 'veth');
  if (end === undefined || more.length > 0 || mac === '' || addresses.length === 0) return undefined;
  const link = { network, hostInterface: end.name, mac, addresses, mtu: end.mtu };
  if (end.master === 0)
    return addresses.every(({ ip }) => kernel.routeOf(ip) === end.index) ? link : undefined;
  const bridge = kernel.linkAt(end.master);
  if (bridge?.kind !== 'bridge') return undefined;
  const gateways = new Set(addresses.flatMap(({ gateway }) => parseIp(gateway) ?? []).map(formatIp));
  // The host counts as the gateway that evaluates connections only for addresses that the bridge really has.
  const held = kernel
    .addressesOf(bridge.index)
    .filter((address) => gateways.has(address.split('/')[0] ?? ''));
  const { hairpin = false } = end;
  return {
    ...link,
    bridge: { name: bridge.name, mac: bridge.mac, addresses: held, hairpin, promiscuous: bridge.promiscuous },
  };
}

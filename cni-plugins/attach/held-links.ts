import type { ChainLink } from '../invoke/chain.types.ts';
import { formatIp, parseIp, parsePrefix } from '../spec/address.ts';
import type { CniResult } from '../spec/result.ts';
import type { HostKernel } from './host-kernel.ts';
import type { AttachmentSpec, HeldLink } from './record.ts';

/** Links that plugins made and that our rules can hold: by what their result tells, as far as the kernel confirms it. */

/** IPv4 first. */
export function addressesIn(result: CniResult, name: string): AttachmentSpec['addresses'] {
  const at = indexIn(result, name);
  return result.ips
    .filter(({ interface: index }) => index === undefined || at < 0 || index === at)
    .flatMap(({ address, gateway }) => {
      const prefix = parsePrefix(address);
      return prefix === undefined ? [] : [{ ip: formatIp(prefix.address), prefixLength: prefix.length, gateway: gateway ?? '' }];
    })
    .toSorted((a, b) => Number(a.ip.includes(':')) - Number(b.ip.includes(':')));
}

export const interfaceIn = (result: CniResult, name: string): CniResult['interfaces'][number] | undefined =>
  result.interfaces[indexIn(result, name)];

const indexIn = ({ interfaces }: CniResult, wanted: string): number =>
  interfaces.findIndex(({ name, sandbox }) => name === wanted && (sandbox ?? '') !== '');

/**
 * Where its rules stand: the host's end of the veth pair, a port of a bridge, or the end by which the host routes to all its addresses.
 * @returns undefined when there is no such end, as with macvlan, ipvlan and devices of the host, or the result does not tell of it; docs/decisions/0043
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
    .flatMap((told) => kernel.link(told.name) ?? [])
    .filter(({ kind }) => kind === 'veth');
  if (end === undefined || more.length > 0 || mac === '' || addresses.length === 0) return undefined;
  const link = { network, hostInterface: end.name, mac, addresses, mtu: end.mtu };
  if (end.master === 0) return addresses.every(({ ip }) => kernel.routeOf(ip) === end.index) ? link : undefined;
  const bridge = kernel.linkAt(end.master);
  if (bridge?.kind !== 'bridge') return undefined;
  const gateways = new Set(addresses.flatMap(({ gateway }) => parseIp(gateway) ?? []).map(formatIp));
  // Only what the bridge really has makes the host the gateway at which connections are judged.
  const held = kernel.addressesOf(bridge.index).filter((address) => gateways.has(address.split('/')[0] ?? ''));
  const { hairpin = false } = end;
  return { ...link, bridge: { name: bridge.name, mac: bridge.mac, addresses: held, hairpin, promiscuous: bridge.promiscuous } };
}

import { formatIp, ipBytes, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpPrefix } from '../../../base/addresses/index.ts';
import type { LeasedAddress, Resource, ResourceType } from '../contract/contract.ts';
import { missingElements, putElements, takeElements } from './elements.ts';
import type { MapElement } from './elements.ts';
import { leavingChain, maps } from './rules.ts';
import type { SharedChain } from './tables.ts';

/** Packets of the pod that leave its subnet get the host's address. */
export interface Masquerade extends Resource {
  readonly kind: 'masquerade';
  /** The pod's address with the prefix length of its subnet. */
  readonly address: string;
}

/** Returns one resource per address. */
export const masqueradeOf = (addresses: readonly LeasedAddress[]): Masquerade[] =>
  addresses.map(({ address, subnet }) => ({
    kind: 'masquerade',
    address: `${formatIp(address.address)}/${subnet.length}`,
  }));

function partsOf({ address }: Masquerade): { prefix: IpPrefix; chain: SharedChain; element: MapElement } {
  const prefix = parsePrefix(address);
  if (prefix === undefined) throw new Error(`${address} is recorded as an address and is none`);
  const chain = leavingChain(prefix);
  const element = { key: ipBytes(prefix.address), value: { jump: chain.name } };
  const what = `masquerade of ${formatIp(prefix.address)}`;
  return { prefix, chain, element: { family: prefix.address.family, map: maps.masquerade, element, what } };
}

export const masqueradeType: ResourceType<Masquerade> = {
  kind: 'masquerade',
  ensure(resource, { host, foundGone }) {
    const { prefix, chain, element } = partsOf(resource);
    if (putElements(host.filter, prefix.address.family, [element], [chain])) foundGone?.();
  },
  differences(resource, { host }) {
    const { prefix, chain, element } = partsOf(resource);
    return missingElements(host.filter, prefix.address.family, [element], [chain]);
  },
  remove(resource, { host }) {
    const { prefix, chain, element } = partsOf(resource);
    takeElements(host.filter, prefix.address.family, [element], [chain]);
  },
};

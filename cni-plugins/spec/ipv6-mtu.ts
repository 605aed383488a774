import { PortcullisError } from '../../base/errors/index.ts';

/** The smallest MTU of a link with IPv6 (RFC 8200, section 5). The kernel removes IPv6 from smaller ones. */
export const leastIpv6Mtu = 1280;

/**
 * Refuses an interface that would not have the IPv6 addresses that its result names. Pure.
 * @param addresses IP addresses, with or without a prefix
 * @throws NETWORK_MTU_TOO_SMALL
 */
export function refuseSmallMtu(name: string, mtu: number | undefined, addresses: readonly string[]): void {
  const address = addresses.find((each) => each.includes(':'));
  if (mtu === undefined || mtu >= leastIpv6Mtu || address === undefined) return;
  throw new PortcullisError({
    code: 'NETWORK_MTU_TOO_SMALL',
    kind: 'invalid',
    attempted: `give the IPv6 address ${address} to the interface`,
    on: name,
    why: `its MTU is ${mtu}, and IPv6 needs ${leastIpv6Mtu}`,
    fix: `set 'mtu' to ${leastIpv6Mtu} or more, or use no IPv6 addresses`,
  });
}

/**
 * Refuses subnets of IPv6 whose pods would get an MTU without IPv6, because a link of the host leaves them no
 * more. Pure.
 * @param link by which packets of pods leave the host
 * @param overhead bytes that are added to each packet of a pod there
 * @throws NETWORK_MTU_TOO_SMALL
 */
export function refuseSmallLink(
  link: string,
  mtu: number,
  overhead: number,
  subnets: readonly string[],
): void {
  const subnet = subnets.find((each) => each.includes(':'));
  if (mtu - overhead >= leastIpv6Mtu || subnet === undefined) return;
  const leaves = overhead === 0 ? '' : `, which leaves ${mtu - overhead} for packets of pods`;
  throw new PortcullisError({
    code: 'NETWORK_MTU_TOO_SMALL',
    kind: 'precondition',
    attempted: `give pods IPv6 addresses of ${subnet} over the link`,
    on: link,
    why: `its MTU is ${mtu}${leaves}, and IPv6 needs ${leastIpv6Mtu}`,
    fix: `set the MTU of the link to ${leastIpv6Mtu + overhead} or more, or give pods no IPv6 addresses`,
  });
}

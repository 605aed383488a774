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

import { contains, parseIp, parsePrefix } from '../../spec/address.ts';
import type { IpPrefix } from '../../spec/address.ts';
import type { OverlayNetwork } from '../settings.ts';
import type { MergedService } from './merged.ts';
import type { PublishedMember } from './records.ts';

/**
 * Leaves out addresses that no pod of another host has: what is said in etcd leads nowhere but to them. What did not change is the same object again.
 * Pure but for what it remembers.
 */
export function createStrangers(
  networks: readonly OverlayNetwork[],
): (service: MergedService, ownSubnets: readonly string[]) => MergedService {
  let of = '';
  let seen = new WeakMap<readonly PublishedMember[], readonly PublishedMember[]>();
  return (service, ownSubnets) => {
    if (of !== ownSubnets.join()) seen = new WeakMap();
    of = ownSubnets.join();
    const own = ownSubnets.flatMap((text) => parsePrefix(text) ?? []);
    const isTheirs = (text: string): boolean => {
      const address = parseIp(text);
      const isIn = (prefix: IpPrefix): boolean => prefix.address.family === address?.family && contains(prefix, address);
      return networks.some(({ prefix }) => isIn(prefix)) && !own.some(isIn);
    };
    const without = (given: readonly PublishedMember[]): readonly PublishedMember[] => {
      const before = seen.get(given);
      if (before !== undefined) return before;
      const left = given.map((member) => ({ ...member, addresses: member.addresses.filter(isTheirs) }));
      seen.set(given, left);
      return left;
    };
    return {
      ...service,
      addresses: service.addresses.filter(isTheirs),
      members: new Map([...service.members].map(([host, given]) => [host, without(given)])),
    };
  };
}

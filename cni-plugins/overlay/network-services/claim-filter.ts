import type { OverlayNetwork } from '../records/settings.ts';
import { subnetWith } from './addresses.ts';
import type { MergedService } from './merged.ts';
import { addressHolder } from '../records/service-records.ts';
import type { PublishedMember } from '../records/service-records.ts';

/** Holders of subnets and addresses, also while a restored etcd does not know them. */
export interface Holders {
  /** A host, or `(services)`. @param subnet canonical */
  subnetHolder(subnet: string): string | undefined;
  addressHolder(address: string): string | undefined;
  /** A counter that changes whenever a subnet changes hands. */
  subnetsChanged(): number;
}

/** Drops addresses that do not belong to a host's own pods. */
export interface ClaimFilter {
  /** An unchanged service is returned as the same object. */
  without(name: string, service: MergedService): MergedService;
  /** Messages about dropped addresses, by service and host. */
  readonly found: ReadonlyMap<string, string>;
}

/**
 * Checks claims in etcd. A member has only addresses of the subnet of the host that announces it. A service
 * has only virtual addresses of its own, from a subnet that no host has. Claims in etcd can lead nowhere
 * else. Pure except for what it remembers.
 */
export function createClaimFilter(
  networks: readonly OverlayNetwork[],
  holders: Holders,
  self: string,
): ClaimFilter {
  let of = holders.subnetsChanged();
  let seen = new WeakMap<readonly PublishedMember[], readonly PublishedMember[]>();
  const found = new Map<string, string>();
  const holderOf = (address: string): string | undefined => {
    const subnet = subnetWith(networks, address);
    return subnet === undefined ? undefined : holders.subnetHolder(subnet);
  };
  const ofHost = (
    name: string,
    host: string,
    given: readonly PublishedMember[],
  ): readonly PublishedMember[] => {
    const before = seen.get(given);
    if (before !== undefined) return before;
    const strange = new Set(
      given.flatMap(({ addresses }) =>
        addresses.filter((address) => host === self || holderOf(address) !== host),
      ),
    );
    const key = `${name} ${host}`;
    if (strange.size === 0) found.delete(key);
    else
      found.set(
        key,
        `members of ${name} on ${host}: ${[...strange].slice(0, 3).join(', ')} ${strange.size === 1 ? 'belongs' : 'belong'} to no pod of that host`,
      );
    const left = given.map((member) => ({
      ...member,
      addresses: member.addresses.filter((address) => !strange.has(address)),
    }));
    seen.set(given, left);
    return left;
  };
  return {
    found,
    without(name, service) {
      if (of !== holders.subnetsChanged()) seen = new WeakMap();
      of = holders.subnetsChanged();
      return {
        ...service,
        addresses: service.addresses.filter(
          (address) => holders.addressHolder(address) === name && holderOf(address) === addressHolder,
        ),
        members: new Map([...service.members].map(([host, given]) => [host, ofHost(name, host, given)])),
      };
    },
  };
}

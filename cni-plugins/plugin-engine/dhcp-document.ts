import { networkOf, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { HeldLease } from '../dhcp/client.ts';
import type { LeaseTerms } from '../dhcp/lease-terms.ts';
import type { Identity } from '../dhcp/requests.ts';
import type { GivenAddresses } from '../networks/addresses.ts';
import type { LeasedAddress, Resource } from '../plugins/contract/contract.ts';
import type { PodAddresses } from '../plugins/interface/pod-addresses.ts';
import { ipsOf, routesVia } from '../plugins/interface/settings.ts';
import { masqueradeOf } from '../plugins/nat/masquerade-type.ts';
import type { CniDns, CniResult } from '../spec/result.ts';

/** The record of a DHCP client in the database, and the meaning of its lease for the attachment. Pure. */
export interface DhcpDocument {
  readonly client: {
    /** Id and index: the interface may be renamed, and its MAC address changed. */
    readonly namespace: string;
    readonly index: number;
    readonly mac: string;
    /** Hexadecimal digits, as the values of `provided`. */
    readonly clientId: string;
    readonly requested: readonly number[];
    readonly provided: readonly (readonly [code: number, value: string])[];
  };
  /** Metric of the routes. */
  readonly priority?: number;
  /** Absent with `lost`: there is no lease any more. Absent without: the ADD has not finished. */
  readonly lease?: HeldLease;
  readonly lost?: string;
}

const bytes = (digits: string): Buffer => Buffer.from(digits.replaceAll(':', ''), 'hex');

export const identityOf = ({ client }: DhcpDocument): Identity => ({
  mac: bytes(client.mac),
  clientId: bytes(client.clientId),
  requested: client.requested,
  provided: new Map(client.provided.map(([code, value]) => [code, bytes(value)])),
});

/** Returns what the lease gives to the plugin that created the interface. */
export function givenBy(terms: LeaseTerms, priority: number | undefined): GivenAddresses {
  return {
    addresses: leasedOf(terms),
    routes: terms.routes.map((route) => ({ ...route, ...(priority !== undefined && { priority }) })),
    dns: dnsOf(terms),
  };
}

function leasedOf({ address: text, length, router }: LeaseTerms): LeasedAddress[] {
  const address = parsePrefix(`${text}/${length}`);
  const gateway = router === undefined ? undefined : parseIp(router);
  if (address === undefined) return [];
  const subnet = { address: networkOf(address), length };
  return [{ address, subnet, ...(gateway !== undefined && { gateway }) }];
}

const dnsOf = ({ nameservers, domain, search }: LeaseTerms): CniDns => ({
  ...(nameservers.length > 0 && { nameservers }),
  ...(domain !== undefined && { domain }),
  ...(search.length > 0 && { search }),
});

const isPodAddresses = (resource: Resource): resource is PodAddresses => resource.kind === 'pod-addresses';

/** Returns the resources of an interface with another lease, or with none. */
export function resourcesWith(
  resources: readonly Resource[],
  { addresses, routes }: Pick<GivenAddresses, 'addresses' | 'routes'>,
): Resource[] {
  const masquerades = resources.some(({ kind }) => kind === 'masquerade') ? masqueradeOf(addresses) : [];
  const others = resources.filter(({ kind }) => kind !== 'masquerade');
  return [
    ...masquerades,
    ...others.map((resource) =>
      isPodAddresses(resource)
        ? {
            ...resource,
            addresses: ipsOf(addresses, 0).map(({ address }) => address),
            routes: routesVia(routes, addresses),
          }
        : resource,
    ),
  ];
}

/** Returns the result of the ADD with another lease. */
export function resultWith(result: CniResult, { addresses, routes, dns }: GivenAddresses): CniResult {
  const index = result.ips[0]?.interface;
  return {
    ...result,
    ips: ipsOf(addresses, 0).map(({ interface: _first, ...ip }) => ({
      ...ip,
      ...(index !== undefined && { interface: index }),
    })),
    routes,
    dns,
  };
}

/** Returns the addresses that only the first list of resources has. */
export const addressesOnlyIn = (former: readonly Resource[], later: readonly Resource[]): string[] => {
  const kept = new Set(later.filter(isPodAddresses).flatMap(({ addresses }) => addresses));
  return former
    .filter(isPodAddresses)
    .flatMap(({ addresses }) => addresses)
    .filter((address) => !kept.has(address));
};

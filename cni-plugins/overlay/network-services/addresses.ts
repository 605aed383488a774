import { createHash } from 'node:crypto';
import { failure } from '../../../base/errors/index.ts';
import type { ErrorKind, PortcullisError } from '../../../base/errors/index.ts';
import {
  bitsOf,
  contains,
  formatIp,
  lastOf,
  networkOf,
  parseIp,
  parsePrefix,
} from '../../../base/addresses/index.ts';
import type { IpAddress, IpFamily, IpPrefix } from '../../../base/addresses/index.ts';
import type { Ownership } from '../ownership/ownership.ts';
import { prefixText, subnetAt, subnetCount } from '../records/settings.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { addressHolder } from '../records/service-records.ts';

/**
 * Chooses virtual addresses of services over hosts, from subnets that no host gets. The transaction that
 * writes the service claims the address; a host that comes second chooses again. Pure.
 */

const attempts = 1000;
/**
 * Services get at most this fraction of the subnets of a network, and one in any case. The others are for
 * hosts.
 */
const shareOfSubnets = 16;

/** Subnets and addresses as all hosts claim them. */
interface Taken {
  /** The holder of each subnet. */
  readonly subnets: ReadonlyMap<string, string>;
  /** The service of each address. */
  readonly addresses: ReadonlyMap<string, string>;
  /** Returns who has the oldest claim on a subnet, also if it does not count now. */
  readonly oldestClaimOf: (subnet: string) => string | undefined;
}

/**
 * Chooses an address of each network that no service has.
 * @param wanted addresses that the service's members ask for: these, or an error
 * @param former addresses that the service had when etcd lost it; they are chosen again if no other service
 * has them by now
 * @throws NETWORK_ADDRESS_OUT_OF_RANGE · NETWORK_ADDRESS_TAKEN · NETWORK_ADDRESSES_EXHAUSTED
 */
export function chooseAddresses(
  view: Pick<Ownership, 'addresses' | 'oldestClaimOf' | 'subnets'>,
  networks: readonly OverlayNetwork[],
  service: string,
  { wanted, former }: { readonly wanted: readonly string[]; readonly former: readonly string[] },
): string[] {
  const taken: Taken = {
    subnets: view.subnets(),
    addresses: view.addresses(),
    oldestClaimOf: view.oldestClaimOf,
  };
  for (const address of wanted)
    if (networkWith(networks, address) === undefined)
      throw outOfRange(service, address, 'it is in no network of the overlay');
  return networks.map((network) => {
    const { family } = network.prefix.address;
    const asked = wanted.find((address) => familyIn(address) === family);
    if (asked !== undefined) return askedFor(network, service, asked, taken);
    return again(network, service, former, taken) ?? free(network, service, taken);
  });
}

/**
 * Returns the canonical subnet that a host or services would claim with this address; undefined when no
 * network has it.
 */
export function subnetWith(networks: readonly OverlayNetwork[], text: string): string | undefined {
  const network = networkWith(networks, text);
  const address = parseIp(text);
  return network === undefined || address === undefined ? undefined : prefixText(subnetOf(network, address));
}

const familyIn = (text: string): IpFamily | undefined => parseIp(text)?.family;

const networkWith = (networks: readonly OverlayNetwork[], text: string): OverlayNetwork | undefined => {
  const address = parseIp(text);
  return (
    address &&
    networks.find(({ prefix }) => prefix.address.family === address.family && contains(prefix, address))
  );
};

function subnetOf({ hostLength }: OverlayNetwork, address: IpAddress): IpPrefix {
  const length = hostLength;
  return { address: { family: address.family, value: networkOf({ address, length }).value }, length };
}

/** The first address of a subnet is the host's gateway. The last one of IPv4 is never used. */
function isEdge(subnet: IpPrefix, { value }: IpAddress): boolean {
  return value === networkOf(subnet).value || (subnet.address.family === 4 && value === lastOf(subnet).value);
}

function askedFor(network: OverlayNetwork, service: string, text: string, taken: Taken): string {
  const address = parseIp(text);
  if (address === undefined) throw outOfRange(service, text, 'it is none');
  const subnet = subnetOf(network, address);
  if (isEdge(subnet, address))
    throw outOfRange(service, text, 'it is the first or last address of its subnet');
  const holder = taken.addresses.get(formatIp(address));
  if (holder !== undefined && holder !== service) throw addressTaken(service, text, holder);
  if (taken.subnets.get(prefixText(subnet)) === undefined) requireRoom(network, service, taken);
  const host = hostWith(subnet, taken);
  if (host !== undefined) throw outOfRange(service, text, `it is in the subnet of the host ${host}`);
  return formatIp(address);
}

/** Returns the subnets of a network that belong to services. */
const subnetsOfServices = (network: OverlayNetwork, { subnets }: Taken): IpPrefix[] =>
  [...subnets].flatMap(([text, host]) => {
    const subnet = host === addressHolder ? parsePrefix(text) : undefined;
    return subnet?.address.family === network.prefix.address.family &&
      subnet.length === network.hostLength &&
      contains(network.prefix, subnet.address)
      ? [subnet]
      : [];
  });

/**
 * Refuses requested addresses in further subnets if they would use up subnets of hosts.
 * @throws NETWORK_ADDRESSES_EXHAUSTED
 */
function requireRoom(network: OverlayNetwork, service: string, taken: Taken): void {
  const most = Math.max(1, Math.floor(subnetCount(network) / shareOfSubnets));
  if (subnetsOfServices(network, taken).length < most) return;
  throw addressFailure(
    'NETWORK_ADDRESSES_EXHAUSTED',
    'exhausted',
    service,
    `services have ${most} subnets of ${prefixText(network.prefix)}, which is the limit`,
    'name an address of a subnet that services already have, or none, or end services that are not needed',
  );
}

function again(
  network: OverlayNetwork,
  service: string,
  former: readonly string[],
  taken: Taken,
): string | undefined {
  for (const text of former) {
    const address = parseIp(text);
    if (address?.family !== network.prefix.address.family || !contains(network.prefix, address)) continue;
    const isFree = (taken.addresses.get(text) ?? service) === service;
    if (isFree && hostWith(subnetOf(network, address), taken) === undefined) return text;
  }
  return undefined;
}

/**
 * Finds a free address. The search begins at a position derived from the name, so that a service that is
 * created again most likely gets the same address, and another service does not.
 */
function free(network: OverlayNetwork, service: string, taken: Taken): string {
  for (const subnet of subnetsOfServices(network, taken)) {
    const found = freeIn(subnet, service, taken.addresses);
    if (found !== undefined) return found;
  }
  requireRoom(network, service, taken);
  const found = freeIn(another(network, taken), service, taken.addresses);
  if (found === undefined) throw exhausted(service, network);
  return found;
}

const placeOf = (text: string): number => createHash('sha256').update(text).digest().readUInt32BE(0);

function freeIn(
  subnet: IpPrefix,
  service: string,
  addresses: ReadonlyMap<string, string>,
): string | undefined {
  const { family } = subnet.address;
  const bits = Math.min(bitsOf(family) - subnet.length, 16);
  const count = 2 ** bits;
  const start = placeOf(service) % count;
  for (let at = 0; at < count; at += 1) {
    const address = { family, value: networkOf(subnet).value + BigInt((start + at) % count) };
    if (!isEdge(subnet, address) && !addresses.has(formatIp(address))) return formatIp(address);
  }
  return undefined;
}

/** Finds a free subnet. Hosts that search at the same time find the same one. */
function another(network: OverlayNetwork, taken: Taken): IpPrefix {
  const count = subnetCount(network);
  const start = placeOf(addressHolder) % count;
  for (let at = 0; at < count && at < attempts + taken.subnets.size; at += 1) {
    const subnet = subnetAt(network, (start + at) % count);
    if (taken.oldestClaimOf(prefixText(subnet)) === undefined) return subnet;
  }
  throw exhausted(addressHolder, network);
}

/** Returns undefined when virtual addresses may come from the subnet. */
function hostWith(subnet: IpPrefix, taken: Taken): string | undefined {
  const text = prefixText(subnet);
  const holder = taken.subnets.get(text) ?? taken.oldestClaimOf(text);
  return holder === addressHolder ? undefined : holder;
}

function addressFailure(
  code: string,
  kind: ErrorKind,
  service: string,
  why: string,
  fix: string,
): PortcullisError {
  return failure(code, kind, 'give a virtual address to the service', service, why, fix);
}

function outOfRange(service: string, address: string, why: string): PortcullisError {
  return addressFailure(
    'NETWORK_ADDRESS_OUT_OF_RANGE',
    'invalid',
    service,
    `${address}: ${why}`,
    'name an address of a subnet that no host has, or none',
  );
}

function addressTaken(service: string, address: string, holder: string): PortcullisError {
  return addressFailure(
    'NETWORK_ADDRESS_TAKEN',
    'already-exists',
    service,
    `${address} belongs to the service ${holder}`,
    'name another address, or none',
  );
}

function exhausted(service: string, { prefix, hostLength }: OverlayNetwork): PortcullisError {
  return addressFailure(
    'NETWORK_ADDRESSES_EXHAUSTED',
    'exhausted',
    service,
    `every subnet of /${hostLength} of ${prefixText(prefix)} is claimed`,
    'release hosts that are gone: `portcullis network overlay release HOST`',
  );
}

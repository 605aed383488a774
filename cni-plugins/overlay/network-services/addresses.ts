import { createHash } from 'node:crypto';
import { PortcullisError } from '../../../base/errors/index.ts';
import { bitsOf, contains, formatIp, lastOf, networkOf, parseIp, parsePrefix } from '../../spec/address.ts';
import type { IpAddress, IpFamily, IpPrefix } from '../../spec/address.ts';
import type { Member } from '../membership.ts';
import { encode, readClaim, readSubnet } from '../records.ts';
import { prefixText, subnetAt, subnetCount } from '../settings.ts';
import type { OverlayNetwork } from '../settings.ts';
import { addressHolder, readServiceClaim } from './records.ts';

/**
 * Virtual addresses of services over hosts: of subnets that no host gets, claimed in etcd like theirs. What is chosen here is taken by the transaction that
 * writes the service: whoever is second there chooses again.
 */

const attempts = 1000;

/** Subnets and addresses as etcd has them. */
interface Taken {
  /** Whose each is. */
  readonly subnets: ReadonlyMap<string, string>;
  /** Of which service each is. */
  readonly addresses: ReadonlyMap<string, string>;
}

async function takenNow({ client, keys }: Member): Promise<Taken> {
  const folder = keys.address('');
  const [subnets, addresses] = [await client.list(`${keys.all}subnets/`), await client.list(folder)];
  return {
    subnets: new Map(
      subnets.pairs.flatMap(({ key, value }) => {
        const read = keys.read(key);
        const subnet = read.kind === 'subnet' ? readSubnet(read.subnet) : undefined;
        return subnet === undefined ? [] : [[subnet, readClaim(value)?.host ?? ''] as const];
      }),
    ),
    addresses: new Map(addresses.pairs.map(({ key, value }) => [key.slice(folder.length), readServiceClaim(value)?.service ?? ''])),
  };
}

/**
 * An address of each of the networks that no service has.
 * @param wanted by the service's members: these, or none
 * @param former that the service had when etcd forgot it: again, where nobody has them by now
 * @throws NETWORK_ADDRESS_OUT_OF_RANGE · NETWORK_ADDRESS_TAKEN · NETWORK_ADDRESSES_EXHAUSTED · OVERLAY_ETCD_UNREACHABLE
 */
export async function chooseAddresses(
  member: Member,
  networks: readonly OverlayNetwork[],
  service: string,
  { wanted, former }: { readonly wanted: readonly string[]; readonly former: readonly string[] },
): Promise<string[]> {
  const taken = await takenNow(member);
  for (const address of wanted)
    if (networkWith(networks, address) === undefined) throw outOfRange(service, address, 'no network of the overlay has it');
  const chosen: string[] = [];
  for (const network of networks) {
    const { family } = network.prefix.address;
    const asked = wanted.find((address) => familyIn(address) === family);
    if (asked !== undefined) chosen.push(await askedFor(member, network, service, asked, taken));
    else chosen.push((await again(member, network, former, taken)) ?? (await free(member, network, service, taken)));
  }
  return chosen;
}

const familyIn = (text: string): IpFamily | undefined => parseIp(text)?.family;

const networkWith = (networks: readonly OverlayNetwork[], text: string): OverlayNetwork | undefined => {
  const address = parseIp(text);
  return address && networks.find(({ prefix }) => prefix.address.family === address.family && contains(prefix, address));
};

function subnetOf({ hostLength }: OverlayNetwork, address: IpAddress): IpPrefix {
  const length = hostLength;
  return { address: { family: address.family, value: networkOf({ address, length }).value }, length };
}

/** Gateways of hosts are the first address of a subnet; none of IPv4 is the last. */
function isEdge(subnet: IpPrefix, { value }: IpAddress): boolean {
  return value === networkOf(subnet).value || (subnet.address.family === 4 && value === lastOf(subnet).value);
}

async function askedFor(member: Member, network: OverlayNetwork, service: string, text: string, taken: Taken): Promise<string> {
  const address = parseIp(text);
  if (address === undefined) throw outOfRange(service, text, 'it is none');
  const subnet = subnetOf(network, address);
  if (isEdge(subnet, address)) throw outOfRange(service, text, 'it is the first or last of its subnet');
  const holder = taken.addresses.get(formatIp(address));
  if (holder !== undefined && holder !== service) throw addressTaken(service, text, holder);
  const host = await claim(member, subnet, taken);
  if (host !== undefined) throw outOfRange(service, text, `it is of the subnet of the host ${host}`);
  return formatIp(address);
}

async function again(member: Member, network: OverlayNetwork, former: readonly string[], taken: Taken): Promise<string | undefined> {
  for (const text of former) {
    const address = parseIp(text);
    if (address?.family !== network.prefix.address.family || !contains(network.prefix, address) || taken.addresses.has(text)) continue;
    if ((await claim(member, subnetOf(network, address), taken)) === undefined) return text;
  }
  return undefined;
}

/** The search begins at a place of the name's own: a service that comes again has its address again, most likely, and another one has not. */
async function free(member: Member, network: OverlayNetwork, service: string, taken: Taken): Promise<string> {
  const { family } = network.prefix.address;
  const own = [...taken.subnets].flatMap(([text, host]) => {
    const subnet = host === addressHolder ? parsePrefix(text) : undefined;
    return subnet?.address.family === family && subnet.length === network.hostLength && contains(network.prefix, subnet.address)
      ? [subnet]
      : [];
  });
  for (const subnet of own) {
    const found = freeIn(subnet, service, taken.addresses);
    if (found !== undefined) return found;
  }
  const found = freeIn(await claimAnother(member, network, taken), service, taken.addresses);
  if (found === undefined) throw exhausted(service, network);
  return found;
}

const placeOf = (text: string): number => createHash('sha256').update(text).digest().readUInt32BE(0);

function freeIn(subnet: IpPrefix, service: string, addresses: ReadonlyMap<string, string>): string | undefined {
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

/** Hosts that look for one at once find the same. */
async function claimAnother(member: Member, network: OverlayNetwork, taken: Taken): Promise<IpPrefix> {
  const count = subnetCount(network);
  const start = placeOf(addressHolder) % count;
  for (let at = 0, tried = 0; at < count && tried < attempts; at += 1) {
    const subnet = subnetAt(network, (start + at) % count);
    if (taken.subnets.has(prefixText(subnet))) continue;
    tried += 1;
    if ((await claim(member, subnet, taken)) === undefined) return subnet;
  }
  throw exhausted(addressHolder, network);
}

/** Has the subnet be one of virtual addresses. @returns the host whose it is instead */
async function claim({ client, keys }: Member, subnet: IpPrefix, taken: Taken): Promise<string | undefined> {
  const key = keys.subnet(prefixText(subnet));
  const holder = taken.subnets.get(prefixText(subnet));
  if (holder !== undefined) return holder === addressHolder ? undefined : holder;
  const value = encode({ host: addressHolder, id: '' });
  if (await client.transact([{ result: 0, target: 1, key, createRevision: 0 }], [{ put: { key, value } }])) return undefined;
  const standing = await client.get(key);
  const host = standing === undefined ? '' : (readClaim(standing.value)?.host ?? '');
  return host === addressHolder ? undefined : host;
}

function failure(code: string, kind: PortcullisError['kind'], service: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind, attempted: 'give a virtual address to the service over hosts', on: service, why, fix });
}

function outOfRange(service: string, address: string, why: string): PortcullisError {
  return failure(
    'NETWORK_ADDRESS_OUT_OF_RANGE',
    'invalid',
    service,
    `${address}: ${why}`,
    'name an address of a subnet that no host has, or none',
  );
}

function addressTaken(service: string, address: string, holder: string): PortcullisError {
  return failure(
    'NETWORK_ADDRESS_TAKEN',
    'already-exists',
    service,
    `${address} is the service ${holder}'s`,
    'name another address, or none',
  );
}

function exhausted(service: string, { prefix, hostLength }: OverlayNetwork): PortcullisError {
  return failure(
    'NETWORK_ADDRESSES_EXHAUSTED',
    'exhausted',
    service,
    `every subnet of /${hostLength} of ${prefixText(prefix)} is claimed`,
    'release hosts that are gone: `portcullis network overlay release HOST`',
  );
}

import { endOf } from '../etcd/messages.ts';
import type { Comparison, Step } from '../etcd/messages.ts';
import type { Member } from '../membership.ts';
import { encode } from '../records.ts';
import { readHolding, readServiceClaim, readVirtual } from './records.ts';
import type { Holding, HostMembers, PublishedMember, ServiceClaim, VirtualRecord } from './records.ts';

/** What this host writes into etcd of services that its pods join. Each act is one transaction, and one that finds itself done is success. */

const absent = (key: string): Comparison => ({ result: 0, target: 1, key, createRevision: 0 });
const unchanged = (key: string, modRevision: number): Comparison => ({ result: 0, target: 2, key, modRevision });

/** A service in etcd, as of one moment. */
export interface StandingService {
  readonly record: VirtualRecord;
  readonly revision: number;
}

/** Undefined: there is none, or none that can be read. @throws OVERLAY_ETCD_UNREACHABLE */
export async function findService({ client, keys }: Member, service: string): Promise<StandingService | undefined> {
  const found = await client.get(keys.virtual(service));
  const record = found && readVirtual(found.value);
  return found === undefined || record === undefined ? undefined : { record, revision: found.modRevision };
}

/** What a host says of its members of a service. */
export interface Said {
  readonly members: readonly PublishedMember[];
  /** `tcp-30080`. */
  readonly ingressPorts: readonly string[];
  readonly lease: number;
}

function saying({ keys, host, id }: Member, service: string, { members, ingressPorts, lease }: Said): Step[] {
  return [
    { put: { key: keys.holder(service, host), value: encode({ host, id, ingressPorts } satisfies Holding) } },
    { put: { key: keys.members(service, host), value: encode({ members } satisfies HostMembers), lease } },
  ];
}

/** Creates the service, with this host as the first that holds it. @returns false: it was created meanwhile, or an address of it was taken */
export function createService(member: Member, service: string, record: VirtualRecord, said: Said): Promise<boolean> {
  const { client, keys } = member;
  const addresses = record.addresses.map((address) => keys.address(address));
  return client.transact([keys.virtual(service), ...addresses].map(absent), [
    { put: { key: keys.virtual(service), value: encode(record) } },
    ...addresses.map((key): Step => ({ put: { key, value: encode({ service } satisfies ServiceClaim) } })),
    ...saying(member, service, said),
  ]);
}

/** @returns false: the service is another one by now, or none */
export function joinService(member: Member, service: string, { revision }: StandingService, said: Said): Promise<boolean> {
  return member.client.transact([unchanged(member.keys.virtual(service), revision)], saying(member, service, said));
}

/** Takes an ingress port for a service that this host holds. @returns the service whose it is, which may be another one; undefined: the service is gone */
export async function takePort(
  { client, keys }: Member,
  service: string,
  { revision }: StandingService,
  port: string,
): Promise<string | undefined> {
  const key = keys.port(port);
  const value = encode({ service } satisfies ServiceClaim);
  if (await client.transact([absent(key), unchanged(keys.virtual(service), revision)], [{ put: { key, value } }])) return service;
  const found = await client.get(key);
  return found && readServiceClaim(found.value)?.service;
}

/** This host has no member of it any more. */
export async function leaveService({ client, keys, host }: Member, service: string): Promise<void> {
  await client.transact([], [{ deleteRange: { key: keys.members(service, host) } }, { deleteRange: { key: keys.holder(service, host) } }]);
}

/** Services that etcd says this host holds. */
export async function heldServices({ client, keys, host }: Member): Promise<string[]> {
  const { pairs } = await client.list(`${keys.all}holders/`);
  return pairs.flatMap(({ key }) => {
    const read = keys.read(key);
    return read.kind === 'holder' && read.host === host ? [read.service] : [];
  });
}

/** Gives back what a service has that no host holds. @returns whether it is gone */
export async function endService(member: Member, service: string): Promise<boolean> {
  const { client, keys } = member;
  const standing = await findService(member, service);
  if (standing === undefined) return true;
  const holders = keys.holder(service);
  return client.transact(
    [unchanged(keys.virtual(service), standing.revision), { ...absent(holders), rangeEnd: endOf(holders) }],
    [keys.virtual(service), ...standing.record.addresses.map((address) => keys.address(address))].map((key) => ({ deleteRange: { key } })),
  );
}

/** Gives back an ingress port that no holder of its service has. @returns whether it is gone */
export async function freePort({ client, keys }: Pick<Member, 'client' | 'keys'>, port: string): Promise<boolean> {
  const key = keys.port(port);
  const standing = await client.get(key);
  if (standing === undefined) return true;
  const holders = keys.holder(readServiceClaim(standing.value)?.service ?? '');
  const { pairs, revision } = await client.list(holders);
  if (pairs.some(({ value }) => readHolding(value)?.ingressPorts.includes(port) !== false)) return false;
  const since: Comparison = { result: 2, target: 2, key: holders, rangeEnd: endOf(holders), modRevision: revision + 1 };
  return client.transact([unchanged(key, standing.modRevision), since], [{ deleteRange: { key } }]);
}

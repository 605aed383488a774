import type { Comparison, Step } from '../etcd/messages.ts';
import type { Member } from '../ownership/membership.ts';
import { encode } from '../records/records.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { subnetWith } from './addresses.ts';
import { readVirtual } from '../records/service-records.ts';
import type { Holding, HostMembers, PublishedMember, VirtualRecord } from '../records/service-records.ts';

/**
 * Writes this host's own keys into etcd for services that its pods join, and no other keys. The oldest key
 * defines the service. Each host with members of the service writes the same, so that the service stays when
 * the first host leaves. Each act is one transaction, and succeeds if its change was already made.
 */

const unchanged = (key: string, modRevision: number): Comparison => ({
  result: 0,
  target: 2,
  key,
  modRevision,
});

/** A service as the hosts agree on it. */
export interface StandingService {
  readonly record: VirtualRecord;
  /** Key of the host that wrote it first. */
  readonly key: string;
  readonly revision: number;
}

/** Returns undefined when there is none. */
export function findService({ view }: Member, service: string): StandingService | undefined {
  const found = view.virtual(service);
  const record = found && readVirtual(found.value);
  return found === undefined || record === undefined
    ? undefined
    : { record, key: found.key, revision: found.modRevision };
}

/** A host's statement about its members of a service. */
export interface Said {
  readonly members: readonly PublishedMember[];
  /** `tcp-30080`. */
  readonly ingressPorts: readonly string[];
  readonly lease: number;
}

/**
 * Claims this service, its addresses and ports, and publishes its members on this host.
 * @param standing the existing service that it agrees with; undefined if there is none yet
 * @returns the revision; undefined if the service was changed meanwhile. @throws OVERLAY_ETCD_UNREACHABLE
 */
export async function sayService(
  member: Member,
  networks: readonly OverlayNetwork[],
  service: string,
  record: VirtualRecord,
  { standing: existing, said }: { readonly standing: StandingService | undefined; readonly said: Said },
): Promise<number | undefined> {
  const { client, keys, host, id, view } = member;
  const own = keys.own(host);
  const { members, ingressPorts, lease } = said;
  const wanted = new Set([
    own.virtual(service, encode(record)),
    ...record.addresses.map((address) => own.address(address, service)),
    ...ingressPorts.map((port) => own.port(port, service)),
  ]);
  const shared = record.addresses.flatMap((address) => {
    const subnet = subnetWith(networks, address);
    return subnet === undefined ? [] : [own.shared(subnet)];
  });
  const written = view.keysOf(host);
  const claimed = claimsOf(member, service);
  const steps: Step[] = [
    ...[...new Set([...wanted, ...shared])]
      .filter((key) => !written.has(key))
      .map((key) => ({ put: { key, value: encode({}) } })),
    ...claimed.filter((key) => !wanted.has(key)).map((key) => ({ deleteRange: { key } })),
    { put: { key: own.holder(service), value: encode({ host, id, ingressPorts } satisfies Holding) } },
    { put: { key: own.members(service), value: encode({ members } satisfies HostMembers), lease } },
  ];
  const { succeeded, revision } = await client.commit(
    existing === undefined ? [] : [unchanged(existing.key, existing.revision)],
    steps,
  );
  return succeeded ? revision : undefined;
}

/** Returns the keys by which this host claims something for the service. */
function claimsOf({ keys, host, view }: Member, service: string): string[] {
  return [...view.keysOf(host)].filter((key) => {
    const read = keys.readOwn(key);
    return read?.kind === 'virtual'
      ? read.name === service
      : (read?.kind === 'addresses' || read?.kind === 'ports') && read.of === service;
  });
}

/**
 * Withdraws claims of this host on addresses and ports that another service has. They are made again when
 * these are free. @returns the revision; undefined when there was nothing to withdraw
 */
export async function withdraw(
  { client, view, host }: Member,
  claims: readonly string[],
): Promise<number | undefined> {
  const written = view.keysOf(host);
  const existing = claims.filter((key) => written.has(key));
  if (existing.length === 0) return undefined;
  return (
    await client.commit(
      [],
      existing.map((key) => ({ deleteRange: { key } })),
    )
  ).revision;
}

/**
 * Writes that this host has no member of the service any more. The service's resources stay claimed by this
 * host until {@link endService}.
 */
export async function leaveService({ client, keys, host }: Member, service: string): Promise<void> {
  await client.transact([], [{ deleteRange: { key: keys.own(host).members(service) } }]);
}

/** Returns the services that this host holds according to etcd. */
export async function heldServices({ client, keys, host }: Member): Promise<string[]> {
  const { pairs } = await client.list(keys.own(host).holders);
  return pairs.flatMap(({ key }) => keys.readOwn(key)?.name ?? []);
}

/**
 * Releases the resources that this host claims for the services, and the subnets in which it no longer has a
 * virtual address. If other hosts have members of a service, it continues unchanged, because they claim its
 * subnets themselves.
 * @returns the revision after which it is done. @throws OVERLAY_ETCD_UNREACHABLE
 */
export async function endServices(
  member: Member,
  networks: readonly OverlayNetwork[],
  services: readonly string[],
): Promise<number> {
  const { client, keys, host } = member;
  const own = keys.own(host);
  const ended = new Set<string>();
  let reached = 0;
  for (const service of services) {
    for (const key of claimsOf(member, service)) ended.add(key);
    const given = [
      own.members(service),
      own.holder(service),
      ...claimsOf(member, service),
      ...emptySubnets(member, networks, ended),
    ];
    ({ revision: reached } = await client.commit(
      [],
      given.map((key) => ({ deleteRange: { key } })),
    ));
  }
  return reached;
}

/**
 * Returns the keys of subnets for virtual addresses that this host claims and in which only services of
 * `ended` have addresses.
 */
function emptySubnets(
  { keys, host, view }: Member,
  networks: readonly OverlayNetwork[],
  ended: ReadonlySet<string>,
): string[] {
  const written = [...view.keysOf(host)];
  const used = new Set(
    written.flatMap((key) => {
      const read = ended.has(key) ? undefined : keys.readOwn(key);
      return read?.kind === 'addresses' ? (subnetWith(networks, read.name) ?? []) : [];
    }),
  );
  return written.filter((key) => {
    const read = keys.readOwn(key);
    return read?.kind === 'shared' && !used.has(read.name);
  });
}

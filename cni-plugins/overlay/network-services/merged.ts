import type { Change } from '../etcd/follow.ts';
import type { Keys } from '../records/records.ts';
import { createClaimedResources } from './claimed-resources.ts';
import { readMembers, readServiceClaim, readVirtual, serviceName } from '../records/service-records.ts';
import type { PublishedMember, VirtualRecord } from '../records/service-records.ts';
import { createRemoteMembers } from './remote-members.ts';
import { createVirtualServices } from './virtual-services.ts';

/**
 * Services that pods of several hosts join, as this host knows them. A host's members leave when the host
 * writes so, or when the host is dropped: etcd reported the end of its lease and the hold time is over. An
 * unavailable etcd changes nothing. Pure except for the clock that is passed in.
 */
export interface Merged {
  /**
   * Processes a listing of etcd.
   * @param own services that have members on this host
   */
  list(
    pairs: readonly { readonly key: string; readonly value: Buffer }[],
    now: number,
    own: ReadonlySet<string>,
  ): void;
  change(changes: readonly Change[], now: number): void;
  /** Drops members that were held for the hold time, and services that etcd lost and that have no member. */
  expire(now: number, own: ReadonlySet<string>): void;
  /** Returns undefined if nothing is held. */
  nextExpiry(): number | undefined;
  /** Returns the services that changed since the last call. */
  taken(): ReadonlySet<string>;
  /** Returns undefined when etcd knows no service of that name. */
  service(name: string): MergedService | undefined;
  names(): readonly string[];
  /** Returns how many services an owner has, except this one. */
  countOf(owner: string, except: string): number;
  /** Returns the service that has the ingress port. */
  portHolder(port: string): string | undefined;
  /** Returns the service that has the virtual address. */
  addressHolder(address: string): string | undefined;
}

export interface MergedService extends VirtualRecord {
  /** Ingress ports on all hosts: `tcp-30080`. */
  readonly ingressPorts: readonly string[];
  /** Members on other hosts, by host name. */
  readonly members: ReadonlyMap<string, readonly PublishedMember[]>;
}

/** @param before the last known state of the previous run */
export function createMerged(
  self: string,
  keys: Keys,
  holdMs: number,
  before: ReadonlyMap<string, MergedService> = new Map(),
): Merged {
  const alive = new Set<string>();
  let touched = new Set<string>();
  const touch = (name: string): void => void touched.add(name);
  const services = createVirtualServices(touch, before);
  const members = createRemoteMembers(holdMs, touch, before);
  const addresses = createClaimedResources(touch, claimsIn(before, 'addresses'));
  const ports = createClaimedResources(touch, claimsIn(before, 'ingressPorts'));

  /** A value that cannot be read changes nothing. */
  const put = (key: string, value: Buffer): void => {
    const read = keys.read(key);
    if (read.kind === 'virtual' && serviceName.test(read.service)) {
      const record = readVirtual(value);
      if (record !== undefined) services.put(read.service, record);
    } else if (read.kind === 'members' && read.host !== self && serviceName.test(read.service)) {
      const record = readMembers(value);
      if (record !== undefined) members.put(read.service, read.host, record.members);
    } else if (read.kind === 'address') {
      const claim = readServiceClaim(value);
      if (claim !== undefined) addresses.claim(read.address, claim.service);
    } else if (read.kind === 'port') {
      const claim = readServiceClaim(value);
      if (claim !== undefined) ports.claim(read.port, claim.service);
    }
  };
  const gone = (key: string, now: number): void => {
    const read = keys.read(key);
    if (read.kind === 'virtual') services.end(read.service);
    else if (read.kind === 'members') {
      if (alive.has(read.host)) members.leave(read.service, read.host);
      else if (members.has(read.service, read.host)) members.hold(read.service, read.host, now);
    } else if (read.kind === 'holder') members.leave(read.service, read.host);
    else if (read.kind === 'port') ports.release(read.port);
    else if (read.kind === 'address') addresses.release(read.address);
  };
  const hostOf = (key: string): string | undefined => {
    const read = keys.read(key);
    return read.kind === 'host' ? read.host : undefined;
  };

  return {
    list(pairs, now, own) {
      const present = new Set(pairs.map(({ key }) => key));
      alive.clear();
      for (const { key } of pairs) alive.add(hostOf(key) ?? '');
      for (const [name, host] of members.all()) {
        if (present.has(keys.members(name, host))) continue;
        if (alive.has(host)) members.leave(name, host);
        else members.hold(name, host, now);
      }
      services.listed(
        (name) => present.has(keys.virtual(name)),
        (name) => members.has(name) || own.has(name),
      );
      ports.releaseWhere((port, name) => !present.has(keys.port(port)) && !services.isLost(name));
      addresses.releaseWhere(
        (address, name) => !present.has(keys.address(address)) && !services.isLost(name),
      );
      for (const { key, value } of pairs) put(key, value);
    },
    change(changes, now) {
      // The end of a lease removes all its keys at once: a host that is gone does not "leave" a service.
      for (const { key, value } of changes) {
        const host = hostOf(key);
        if (host === undefined) continue;
        if (value === undefined) alive.delete(host);
        else if (!alive.has(host)) {
          alive.add(host);
          // A host writes its members before its own record.
          members.returned(host);
        }
      }
      for (const { key, value } of changes) {
        if (value === undefined) gone(key, now);
        else put(key, value);
      }
    },
    expire(now, own) {
      members.expire(now);
      for (const name of services.endLost((lost) => members.has(lost) || own.has(lost))) {
        ports.releaseWhere((_port, holder) => holder === name);
        addresses.releaseWhere((_address, holder) => holder === name);
      }
    },
    nextExpiry: members.nextExpiry,
    taken() {
      const names = touched;
      touched = new Set();
      return names;
    },
    service(name) {
      const record = services.record(name);
      if (record === undefined) return undefined;
      return { ...record, ingressPorts: ports.of(name), members: members.of(name) };
    },
    names: () => [...services.all()].map(([name]) => name),
    countOf: (owner, except) =>
      [...services.all()].filter(([name, each]) => each.owner === owner && name !== except).length,
    portHolder: ports.holder,
    addressHolder: addresses.holder,
  };
}

const claimsIn = (
  services: ReadonlyMap<string, MergedService>,
  kind: 'addresses' | 'ingressPorts',
): (readonly [string, string])[] =>
  [...services].flatMap(([name, service]) => service[kind].map((resource) => [resource, name] as const));

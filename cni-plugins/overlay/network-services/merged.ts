import type { Change } from '../etcd/follow.ts';
import type { Keys } from '../records.ts';
import { readMembers, readServiceClaim, readVirtual, serviceName } from './records.ts';
import type { PublishedMember, VirtualRecord } from './records.ts';

/**
 * Services that pods of several hosts join, as this host knows them. A host's members leave when it says so,
 * or when it is dropped: etcd reported the end of its lease and the hold time is over. Silence of etcd
 * changes nothing. Pure except for the clock that is passed in.
 */
export interface Merged {
  /** Takes everything in etcd. @param own services that this host has members of */
  list(pairs: readonly { readonly key: string; readonly value: Buffer }[], now: number, own: ReadonlySet<string>): void;
  change(changes: readonly Change[], now: number): void;
  /** Drops members that were held for the hold time, and services that etcd lost and that have no member. */
  expire(now: number, own: ReadonlySet<string>): void;
  /** Returns undefined when nothing is held. */
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

/** Members of one host that are no longer in etcd. */
interface Held {
  readonly name: string;
  readonly host: string;
  readonly goneAt: number;
}

/** @param before the last known state of the previous run */
export function createMerged(self: string, keys: Keys, holdMs: number, before: ReadonlyMap<string, MergedService> = new Map()): Merged {
  const alive = new Set<string>();
  const services = new Map<string, VirtualRecord>();
  const members = new Map<string, Map<string, readonly PublishedMember[]>>();
  /** In order of time. */
  const held = new Map<string, Held>();
  /** The service of each virtual address. */
  const addresses = new Map<string, string>();
  const ports = new Map<string, string>();
  /** Services that disappeared from etcd without having ended. */
  const forgotten = new Set<string>();
  let touched = new Set<string>();

  for (const [name, { mode, owner, addresses: virtual, ingressPorts, members: given }] of before) {
    services.set(name, { mode, ...(owner !== undefined && { owner }), addresses: virtual });
    for (const port of ingressPorts) ports.set(port, name);
    for (const address of virtual) addresses.set(address, name);
    members.set(name, new Map(given));
  }

  const within = <Value>(outer: Map<string, Map<string, Value>>, name: string): Map<string, Value> => {
    const inner = outer.get(name) ?? new Map<string, Value>();
    outer.set(name, inner);
    return inner;
  };
  const without = <Value>(outer: Map<string, Map<string, Value>>, name: string, host: string): void => {
    if (outer.get(name)?.delete(host) === true) touched.add(name);
    if (outer.get(name)?.size === 0) outer.delete(name);
  };
  const heldKey = (name: string, host: string): string => `${name}/${host}`;
  const hold = (name: string, host: string, now: number): void => {
    if (!held.has(heldKey(name, host))) held.set(heldKey(name, host), { name, host, goneAt: now });
  };
  const letGo = (name: string, host: string): void => {
    held.delete(heldKey(name, host));
    without(members, name, host);
  };
  /** Members that a host did not write again when it came back have left. */
  const returned = (host: string): void => {
    for (const each of held.values()) if (each.host === host) letGo(each.name, host);
  };
  const releasePort = (port: string): void => {
    touched.add(ports.get(port) ?? '');
    ports.delete(port);
  };
  const releaseAddress = (address: string): void => {
    touched.add(addresses.get(address) ?? '');
    addresses.delete(address);
  };
  const end = (name: string): void => {
    services.delete(name);
    forgotten.delete(name);
    touched.add(name);
  };

  /** A value that cannot be read changes nothing. */
  const put = (key: string, value: Buffer): void => {
    const read = keys.read(key);
    if (read.kind === 'virtual' && serviceName.test(read.service)) {
      const record = readVirtual(value);
      if (record === undefined) return;
      services.set(read.service, record);
      forgotten.delete(read.service);
      touched.add(read.service);
    } else if (read.kind === 'members' && read.host !== self && serviceName.test(read.service)) {
      const record = readMembers(value);
      if (record === undefined) return;
      within(members, read.service).set(read.host, record.members);
      held.delete(heldKey(read.service, read.host));
      touched.add(read.service);
    } else if (read.kind === 'address') {
      const claim = readServiceClaim(value);
      if (claim === undefined) return;
      touched.add(addresses.get(read.address) ?? '').add(claim.service);
      addresses.set(read.address, claim.service);
    } else if (read.kind === 'port') {
      const claim = readServiceClaim(value);
      if (claim === undefined) return;
      touched.add(ports.get(read.port) ?? '').add(claim.service);
      ports.set(read.port, claim.service);
    }
  };
  const gone = (key: string, now: number): void => {
    const read = keys.read(key);
    if (read.kind === 'virtual') end(read.service);
    else if (read.kind === 'members') {
      if (alive.has(read.host)) letGo(read.service, read.host);
      else if (members.get(read.service)?.has(read.host) === true) hold(read.service, read.host, now);
    } else if (read.kind === 'holder') letGo(read.service, read.host);
    else if (read.kind === 'port') releasePort(read.port);
    else if (read.kind === 'address') releaseAddress(read.address);
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
      for (const [name, known] of members)
        for (const host of known.keys()) {
          if (present.has(keys.members(name, host))) continue;
          if (alive.has(host)) letGo(name, host);
          else hold(name, host, now);
        }
      // etcd was restored without them: a host that has members writes them again.
      for (const name of services.keys()) {
        if (present.has(keys.virtual(name))) continue;
        if (members.has(name) || own.has(name)) forgotten.add(name);
        else end(name);
      }
      for (const [port, name] of ports) if (!present.has(keys.port(port)) && !forgotten.has(name)) releasePort(port);
      for (const [address, name] of addresses) if (!present.has(keys.address(address)) && !forgotten.has(name)) releaseAddress(address);
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
          returned(host);
        }
      }
      for (const { key, value } of changes) {
        if (value === undefined) gone(key, now);
        else put(key, value);
      }
    },
    expire(now, own) {
      for (const { name, host, goneAt } of held.values()) {
        if (now - goneAt < holdMs) break;
        letGo(name, host);
      }
      for (const name of forgotten) {
        if (members.has(name) || own.has(name)) continue;
        end(name);
        for (const [port, holder] of ports) if (holder === name) releasePort(port);
        for (const [address, holder] of addresses) if (holder === name) releaseAddress(address);
      }
    },
    nextExpiry() {
      const [first] = held.values();
      return first && first.goneAt + holdMs;
    },
    taken() {
      const names = touched;
      names.delete('');
      touched = new Set();
      return names;
    },
    service(name) {
      const record = services.get(name);
      if (record === undefined) return undefined;
      return {
        ...record,
        ingressPorts: [...ports].flatMap(([port, holder]) => (holder === name ? [port] : [])).toSorted(),
        members: new Map([...(members.get(name) ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1))),
      };
    },
    names: () => [...services.keys()],
    countOf: (owner, except) => [...services].filter(([name, each]) => each.owner === owner && name !== except).length,
    portHolder: (port) => ports.get(port),
    addressHolder: (address) => addresses.get(address),
  };
}

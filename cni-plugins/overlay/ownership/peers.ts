import type { Change } from '../etcd/follow.ts';
import { readClaim, readHost, readSubnet } from '../records/records.ts';
import type { HostRecord, Keys } from '../records/records.ts';
import { createSubnetHolders } from './subnet-holders.ts';
import type { Known } from './subnet-holders.ts';

/** Another host to which packets are sent. */
export interface Peer {
  readonly host: string;
  readonly record: HostRecord;
  /** In canonical form and in order. */
  readonly subnets: readonly string[];
}

/**
 * Decides to which hosts packets are sent. A host is dropped only when etcd reported the end of its lease (or
 * listed all hosts without it) and the hold time is over. An unavailable etcd changes nothing. A subnet that
 * another host claims leaves its former host at once. Pure except for the clock that is passed in.
 */
export interface Peers {
  /**
   * Processes a listing of etcd.
   * @returns the hosts that may have changed
   */
  list(
    entries: readonly { readonly key: string; readonly value: Buffer }[],
    now: number,
  ): ReadonlySet<string>;
  change(changes: readonly Change[], now: number): ReadonlySet<string>;
  /** Drops hosts that were held for the hold time. */
  expire(now: number): ReadonlySet<string>;
  /** Returns undefined when no host is held. */
  nextExpiry(): number | undefined;
  /** Returns undefined if nothing is sent to that host. */
  peer(host: string): Peer | undefined;
  all(): readonly (Peer & { readonly held: boolean })[];
  /**
   * Returns the holder of the subnet, as long as it is known: a host, or `(services)`. @param subnet
   * canonical
   */
  holderOf(subnet: string): string | undefined;
  /** A counter that changes whenever a subnet changes hands. */
  readonly claimsChanged: number;
  /** Keys whose values cannot be read. */
  readonly unreadable: ReadonlySet<string>;
}

/**
 * @param self this host's own name, which is not a peer @param before the last known hosts of the previous
 * run; etcd may differ since
 */
export function createPeers(self: string, keys: Keys, holdMs: number, before: readonly Peer[] = []): Peers {
  const hosts = new Map<string, Known<HostRecord>>();
  const holders = createSubnetHolders();
  const unreadable = new Set<string>();

  const put = (key: string, value: Buffer, touched: Set<string>): void => {
    const read = keys.read(key);
    if (read.kind === 'host') {
      const record = readHost(value);
      if (record === undefined) return void unreadable.add(key);
      hosts.set(read.host, { value: record });
      touched.add(read.host);
    } else if (read.kind === 'subnet') {
      const host = readClaim(value)?.host;
      const subnet = readSubnet(read.subnet);
      if (host === undefined || subnet === undefined) return void unreadable.add(key);
      holders.claim(subnet, host, touched);
    }
    unreadable.delete(key);
  };

  const gone = (key: string, now: number): void => {
    const read = keys.read(key);
    unreadable.delete(key);
    const known =
      read.kind === 'host'
        ? hosts.get(read.host)
        : read.kind === 'subnet'
          ? holders.claims.get(readSubnet(read.subnet) ?? '')
          : undefined;
    if (known !== undefined) known.goneAt ??= now;
  };

  for (const { host, record, subnets } of before) {
    hosts.set(host, { value: record });
    for (const subnet of subnets) holders.claim(subnet, host, new Set());
  }

  const peerOf = (host: string): Peer | undefined => {
    const record = hosts.get(host)?.value;
    if (host === self || record === undefined) return undefined;
    const subnets = holders.of(host);
    return subnets && { host, record, subnets };
  };

  return {
    unreadable,
    holderOf: (subnet) => holders.claims.get(subnet)?.value,
    get claimsChanged() {
      return holders.changed;
    },
    list(entries, now) {
      const touched = new Set<string>();
      const present = new Set(entries.map(({ key }) => key));
      for (const { key, value } of entries) put(key, value, touched);
      for (const [host, known] of hosts) if (!present.has(keys.host(host))) known.goneAt ??= now;
      const claimedNow = new Set(
        entries.flatMap(({ key }) => {
          const read = keys.read(key);
          return read.kind === 'subnet' ? (readSubnet(read.subnet) ?? []) : [];
        }),
      );
      for (const [subnet, known] of holders.claims) if (!claimedNow.has(subnet)) known.goneAt ??= now;
      return touched;
    },
    change(changes, now) {
      const touched = new Set<string>();
      for (const { key, value } of changes) {
        if (value === undefined) gone(key, now);
        else put(key, value, touched);
      }
      return touched;
    },
    expire(now) {
      const touched = new Set<string>();
      for (const [host, { goneAt }] of hosts) {
        if (goneAt === undefined || now - goneAt < holdMs) continue;
        hosts.delete(host);
        touched.add(host);
      }
      for (const [subnet, { goneAt }] of holders.claims)
        if (goneAt !== undefined && now - goneAt >= holdMs) holders.claim(subnet, undefined, touched);
      return touched;
    },
    nextExpiry() {
      let first: number | undefined;
      for (const { goneAt } of [...hosts.values(), ...holders.claims.values()])
        if (goneAt !== undefined && (first === undefined || goneAt + holdMs < first)) first = goneAt + holdMs;
      return first;
    },
    peer: peerOf,
    all: () =>
      [...hosts].flatMap(([host, { goneAt }]) => {
        const peer = peerOf(host);
        return peer === undefined ? [] : [{ ...peer, held: goneAt !== undefined }];
      }),
  };
}

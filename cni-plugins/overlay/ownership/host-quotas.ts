import type { Listed, Written } from './facts.ts';
import { readSubnet } from '../records/records.ts';
import type { Keys, OwnKey } from '../records/records.ts';
import { createRefusals } from './refusals.ts';
import type { Refusals } from './refusals.ts';
import { mostKnown } from './subnet-claims.ts';

/** The keys that each host wrote, within limits on their number and size. Pure. */
export interface HostQuotas {
  /**
   * Adds the key as it was written, or refuses it. A refused key is considered again only when it is written
   * again, or etcd is listed.
   * @returns whether the host may have this key
   */
  admit(own: OwnKey, written: Written): boolean;
  /** @returns whether the host had this key */
  dismiss(own: OwnKey, key: string): boolean;
  has(host: string, key: string): boolean;
  keysOf(host: string): ReadonlySet<string>;
  clear(): void;
}

/** Limits above what any host writes, so that one host cannot make this one hold unbounded data. */
const most = { keys: 16_384, bytes: 32 * 1024 * 1024, subnets: 8, shared: 16, identity: 8 } as const;

interface OfHost {
  /** Size of each key with its value. */
  readonly keys: Map<string, number>;
  bytes: number;
  readonly counts: Map<OwnKey['kind'], number>;
}

const limitOf = (kind: OwnKey['kind']): number =>
  kind === 'subnets'
    ? most.subnets
    : kind === 'shared'
      ? most.shared
      : kind === 'identity'
        ? most.identity
        : most.keys;

export function createHostQuotas(refusals: Refusals): HostQuotas {
  const hosts = new Map<string, OfHost>();
  const hostOf = (name: string): OfHost => {
    const found = hosts.get(name) ?? { keys: new Map(), bytes: 0, counts: new Map() };
    hosts.set(name, found);
    return found;
  };
  return {
    admit(own, { key, value }) {
      const host = hostOf(own.host);
      const former = host.keys.get(key);
      const size = key.length + value.length;
      const limit = limitOf(own.kind);
      const count = host.counts.get(own.kind) ?? 0;
      if (
        host.bytes - (former ?? 0) + size > most.bytes ||
        (former === undefined && (host.keys.size >= most.keys || count >= limit))
      ) {
        refusals.refuse(key, `the host ${own.host} has more keys than a host may have`);
        return false;
      }
      if (former === undefined) host.counts.set(own.kind, count + 1);
      host.keys.set(key, size);
      host.bytes += size - (former ?? 0);
      return true;
    },
    dismiss(own, key) {
      const host = hosts.get(own.host);
      const size = host?.keys.get(key);
      if (host === undefined || size === undefined) return false;
      host.keys.delete(key);
      host.bytes -= size;
      host.counts.set(own.kind, (host.counts.get(own.kind) ?? 1) - 1);
      return true;
    },
    has: (host, key) => hosts.get(host)?.keys.has(key) === true,
    keysOf: (host) => new Set(hosts.get(host)?.keys.keys()),
    clear: () => hosts.clear(),
  };
}

/**
 * Returns what is to be kept of a listing: the keys that have a meaning, as many as each host may have. One
 * key over quota of each host stays, so that it is refused, and so do claims of subnets, without their value,
 * as long as it matters which subnets are claimed.
 */
export function withinQuotas<Pair extends Listed>(keys: Keys, written: readonly Pair[]): readonly Pair[] {
  const room = createHostQuotas(createRefusals(keys));
  const over = new Set<string>();
  let claims = 0;
  const age = ({ createRevision = 0 }: Written): number => createRevision;
  return written
    .toSorted((one, other) => age(one) - age(other))
    .flatMap((each) => {
      const own = keys.readOwn(each.key);
      if (own === undefined)
        return keys.read(each.key).kind === 'other' && each.key !== keys.network ? [] : [each];
      if (each.isOverQuota !== true && room.admit(own, each)) return [each];
      const isFirst = !over.has(own.host);
      over.add(own.host);
      if (isFirst) return [each];
      const isClaim = (own.kind === 'subnets' || own.kind === 'shared') && readSubnet(own.name) !== undefined;
      if (!isClaim || claims > mostKnown) return [];
      claims += 1;
      return [{ ...each, value: Buffer.alloc(0), isOverQuota: true as const }];
    });
}

import { createFactContests } from './contests.ts';
import type { Claimant, Contests } from './contests.ts';
import { createFacts } from './facts.ts';
import type { Changed, Fact, Listed, Written } from './facts.ts';
import { createHostQuotas, withinQuotas } from './host-quotas.ts';
import { createHostRecords } from './host-records.ts';
import { putHostless, removeHostless } from './hostless-keys.ts';
import { putOwn, removeOwn } from './own-claims.ts';
import { objectOf } from '../records/records.ts';
import type { Keys } from '../records/records.ts';
import { createRefusals } from './refusals.ts';
import { createSeenRevision } from './seen-revision.ts';
import { createSubnetClaims } from './subnet-claims.ts';

/**
 * The combined facts of all hosts' keys. A host writes only its own keys, and makes claims only for itself.
 * If two hosts claim the same thing, it belongs to the host whose key was created first. A claim that a host
 * may not make, or a value that cannot be read, is refused by its key and changes nothing else. Pure.
 */
export interface Ownership {
  /** Returns what is to be kept of an incomplete listing, so that no host can make it unbounded. */
  within<Pair extends Listed>(written: readonly Pair[]): readonly Pair[];
  /**
   * Processes a listing of etcd.
   * @returns all facts, by the names of {@link Keys}
   */
  list(written: readonly Listed[], revision: number): readonly Fact[];
  /** @returns the facts that changed, in this order */
  change(changes: readonly Changed[], revision: number): readonly Changed[];
  /**
   * Resolves when this view has seen all of etcd up to this revision. @throws OVERLAY_ETCD_UNREACHABLE when
   * that takes more than some seconds
   */
  reached(revision: number): Promise<void>;
  /** Returns the holder of the subnet: a host, or `(services)`. @param subnet canonical */
  subnetHolder(subnet: string): string | undefined;
  /**
   * Returns who has the oldest claim on the subnet, also if that claim does not count now: it may count
   * later, so no other host may choose the subnet. @param subnet canonical
   */
  oldestClaimOf(subnet: string): string | undefined;
  /** Returns all subnets that have a holder. */
  subnets(): ReadonlyMap<string, string>;
  /** Returns the service of each virtual address. */
  addresses(): ReadonlyMap<string, string>;
  addressHolder(address: string): string | undefined;
  portHolder(port: string): string | undefined;
  virtual(service: string): Claimant | undefined;
  /** Returns the keys that the host wrote. */
  keysOf(host: string): ReadonlySet<string>;
  /** Returns why the host's own record is refused; undefined when it is accepted or does not exist. */
  refusalOf(host: string): string | undefined;
  /** Returns the hosts whose daemon is of the former version, which writes facts as keys. */
  oldHosts(): readonly string[];
  /** Why a key of etcd is ignored, by key. */
  readonly refused: ReadonlyMap<string, string>;
}

export function createOwnership(keys: Keys): Ownership {
  const facts = createFacts();
  const refusals = createRefusals(keys);
  const quotas = createHostQuotas(refusals);
  const records = createHostRecords({ keys, facts, refusals });
  const subnets = createSubnetClaims({ keys, facts, refusals });
  const services = {
    virtual: createFactContests(facts, keys.virtual),
    address: createFactContests(facts, keys.address),
    port: createFactContests(facts, keys.port),
  };
  const deps = { keys, facts, refusals, quotas, records, subnets, services };
  const seen = createSeenRevision(keys.all);

  const apply = (each: Changed & Pick<Listed, 'isOverQuota'>): void => {
    const { key, value, createRevision = 0, modRevision = 0, isOverQuota = false } = each;
    const own = keys.readOwn(key);
    if (value === undefined) return own === undefined ? removeHostless(deps, key) : removeOwn(deps, own, key);
    const written = { key, value, createRevision, modRevision };
    return own === undefined ? putHostless(deps, written) : putOwn(deps, own, written, isOverQuota);
  };

  return {
    refused: refusals.all,
    within: (written) => withinQuotas(keys, written),
    list(written, revision) {
      for (const each of [facts, refusals, quotas, records, subnets, ...Object.values(services)])
        each.clear();
      // Own records are applied before those of the former version: a host that has both is of this version.
      // In the order of their creation: a host that saw them arrive refused the same keys over quota.
      const own = written.filter(({ key }) => keys.readOwn(key) !== undefined);
      const age = ({ createRevision = 0 }: Written): number => createRevision;
      for (const each of own.toSorted((one, other) => age(one) - age(other))) apply(each);
      for (const each of written) if (keys.readOwn(each.key) === undefined) apply(each);
      facts.taken();
      seen.reach(revision);
      return facts.all();
    },
    change(changes, revision) {
      for (const each of changes) apply(each);
      const found = facts.taken();
      seen.reach(revision);
      return found;
    },
    reached: seen.reached,
    subnetHolder: subnets.holder,
    oldestClaimOf: subnets.oldest,
    subnets: subnets.holders,
    addresses: () => servicesOf(services.address),
    addressHolder: (address) => serviceIn(services.address.winner(address))[0],
    portHolder: (port) => serviceIn(services.port.winner(port))[0],
    virtual: services.virtual.winner,
    keysOf: quotas.keysOf,
    refusalOf: records.refusalOf,
    oldHosts: records.oldHosts,
  };
}

const servicesOf = (all: Contests): Map<string, string> =>
  new Map(
    [...all.names()].flatMap((name) =>
      serviceIn(all.winner(name)).map((service) => [name, service] as const),
    ),
  );

function serviceIn(claimant: Claimant | undefined): string[] {
  const service = claimant && objectOf(claimant.value)?.['service'];
  return typeof service === 'string' ? [service] : [];
}

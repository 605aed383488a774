import { createContests } from './contests.ts';
import type { Claimant, Contests } from './contests.ts';
import type { Facts } from './facts.ts';
import { addressHolder } from '../records/service-records.ts';
import { readClaim } from '../records/records.ts';
import type { Keys } from '../records/records.ts';
import type { Refusals } from './refusals.ts';
import { familyOf } from '../records/settings.ts';

/**
 * Claims of subnets by all hosts. The winner of a subnet is a fact; the claims of other hosts on it are
 * refused. All subnets are canonical. Pure.
 */
export interface SubnetClaims {
  /** Adds a host's claim of its own subnet. Only the oldest claim of each family counts. */
  claim(host: string, subnet: string, claimant: Claimant): void;
  unclaim(host: string, key: string): void;
  /**
   * Adds a claim that always counts: a claim for virtual addresses of services, or a claim of the former
   * version.
   */
  contend(subnet: string, claimant: Claimant): void;
  withdraw(subnet: string, key: string): void;
  /** Adds a claim, which need not count: it may be over quota or unreadable, which its host can change. */
  reserve(subnet: string, claimant: Claimant): void;
  /** Removes a claim that was reserved. */
  forget(subnet: string, key: string): void;
  /**
   * Returns who has the oldest claim on the subnet, also if that claim does not count now: it will if its
   * host removes its other claims. No host may choose the subnet meanwhile.
   */
  oldest(subnet: string): string | undefined;
  /** Returns the holder of the subnet: a host, or `(services)`. */
  holder(subnet: string): string | undefined;
  /** Returns all subnets that have a holder. */
  holders(): ReadonlyMap<string, string>;
  clear(): void;
}

export interface SubnetClaimsDeps {
  readonly keys: Keys;
  readonly facts: Facts;
  readonly refusals: Refusals;
}

interface OfHost {
  /** The host's claims of subnets, by key. */
  readonly subnets: Map<string, { readonly subnet: string; readonly claimant: Claimant }>;
  /** Those that count: the oldest of each family. */
  counted: Map<string, string>;
}

export function createSubnetClaims({ keys, facts, refusals }: SubnetClaimsDeps): SubnetClaims {
  const hosts = new Map<string, OfHost>();
  const contests = createContests();
  const known = createKnownClaims();
  const hostOf = (name: string): OfHost => {
    const found = hosts.get(name) ?? { subnets: new Map(), counted: new Map() };
    hosts.set(name, found);
    return found;
  };

  /** Hosts that share a subnet for virtual addresses do not compete for it. */
  const isOther = (winner: Claimant, host: string, key: string): boolean =>
    readClaim(winner.value)?.host === addressHolder
      ? keys.readOwn(key)?.kind === 'subnets'
      : winner.host !== host && holderOf(winner) !== host;
  const judge = (subnet: string, { key, host }: Claimant, winner: Claimant): void => {
    if (key !== winner.key && host !== '' && isOther(winner, host, key))
      refusals.refuse(key, `${subnet} belongs to ${holderOf(winner)}, whose claim is older`);
    else refusals.lift(key);
  };

  /** Applies a claim: the winner's value is the fact. @param key of the claim that was added or removed */
  const contest = (subnet: string, key: string, act: (all: Contests) => void): void => {
    const before = contests.winner(subnet);
    act(contests);
    const winner = contests.winner(subnet);
    const concerned =
      before?.key === winner?.key ? [contests.claimant(subnet, key)] : contests.claimants(subnet);
    for (const each of concerned) if (each !== undefined && winner !== undefined) judge(subnet, each, winner);
    facts.say(keys.subnet(subnet), winner?.value);
  };
  const contend = (subnet: string, claimant: Claimant): void => {
    known.put(subnet, claimant);
    contest(subnet, claimant.key, (all) => all.put(subnet, claimant));
  };
  const withdraw = (subnet: string, key: string): void =>
    contest(subnet, key, (all) => all.gone(subnet, key));

  /** Counts the oldest subnet per family of a host. A host gains nothing by claiming more. */
  const recount = (name: string): void => {
    const host = hostOf(name);
    const counted = new Map<string, string>();
    const families = new Set<number>();
    const inOrder = [...host.subnets].toSorted(
      ([, one], [, other]) => one.claimant.createRevision - other.claimant.createRevision,
    );
    for (const [key, { subnet }] of inOrder) {
      if (families.has(familyOf(subnet))) {
        refusals.refuse(
          key,
          `${subnet} is ignored, because the host ${name} already has a subnet of this family`,
        );
        continue;
      }
      families.add(familyOf(subnet));
      refusals.lift(key);
      counted.set(key, subnet);
    }
    const former = host.counted;
    host.counted = counted;
    for (const [key, subnet] of former) if (counted.get(key) !== subnet) withdraw(subnet, key);
    for (const [key, subnet] of counted) {
      const claimant = host.subnets.get(key)?.claimant;
      if (claimant !== undefined) contend(subnet, claimant);
    }
  };

  return {
    claim(host, subnet, claimant) {
      hostOf(host).subnets.set(claimant.key, { subnet, claimant });
      recount(host);
    },
    unclaim(host, key) {
      hostOf(host).subnets.delete(key);
      recount(host);
    },
    contend,
    withdraw(subnet, key) {
      known.gone(subnet, key);
      withdraw(subnet, key);
    },
    reserve: known.put,
    forget: known.gone,
    oldest: known.oldest,
    holder(subnet) {
      const winner = contests.winner(subnet);
      return winner && holderOf(winner);
    },
    holders: () =>
      new Map(
        [...contests.names()].flatMap((name) => {
          const winner = contests.winner(name);
          return winner === undefined ? [] : [[name, holderOf(winner)] as const];
        }),
      ),
    clear() {
      hosts.clear();
      contests.clear();
      known.clear();
    },
  };
}

const holderOf = ({ value }: Claimant): string => readClaim(value)?.host ?? '';

/** More claims than this, of all hosts together, keep new hosts out. */
export const mostKnown = 262_144;

/** All claims of subnets, also those that do not count. */
function createKnownClaims() {
  const contests = createContests();
  const known = new Set<string>();
  /** The host with the first claim that is not kept. */
  let overflow: string | undefined;
  return {
    put(subnet: string, claimant: Claimant): void {
      if (known.size < mostKnown) known.add(claimant.key);
      if (known.has(claimant.key)) contests.put(subnet, claimant);
      else overflow ??= claimant.host;
    },
    gone(subnet: string, key: string): void {
      known.delete(key);
      contests.gone(subnet, key);
    },
    oldest(subnet: string): string | undefined {
      const oldest = contests.winner(subnet);
      return oldest === undefined ? overflow : holderOf(oldest);
    },
    clear(): void {
      contests.clear();
      known.clear();
      overflow = undefined;
    },
  };
}

import { createContests } from './contests.ts';
import type { Claimant } from './contests.ts';
import { identitiesOf, readHost } from '../records/records.ts';
import type { HostRecord } from '../records/records.ts';

/**
 * Decides which host's record is accepted: one that names only values that its host claimed first. A MAC
 * address and a public key belong to a host until it removes its claim. The underlay address belongs to it
 * while its record exists, because another machine may get the address afterwards. Pure.
 */
export interface Identities {
  claim(value: string, claimant: Claimant): void;
  unclaim(value: string, host: string): void;
  /** For a host of the former version the record is also the claim. */
  offer(host: string, offered: Offered): void;
  withdraw(host: string): void;
  /**
   * Returns the hosts whose record changed since the last call. If a record cannot be accepted, the former
   * record stays in force if it is still valid.
   */
  settle(): ReadonlyMap<string, Settled>;
  clear(): void;
}

interface Offered {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision: number;
  readonly isOld: boolean;
}

interface Settled {
  /** Undefined when no record is accepted. */
  readonly value: Buffer | undefined;
  /** Why the current record is not accepted. */
  readonly refused?: string;
}

interface Known {
  readonly offered: Offered;
  readonly record: HostRecord | undefined;
  readonly values: readonly string[];
}

export function createIdentities(): Identities {
  /** Claims by value and host. */
  const claims = new Map<string, Map<string, Claimant>>();
  /** Claims that count. A claim of an underlay address counts only while a record of the host names it. */
  const counting = createContests();
  const known = new Map<string, Known>();
  const accepted = new Map<string, Known>();
  let dirty = new Set<string>();

  /** Updates whether a host's claim of the value counts. Hosts that win or lose by it are checked again. */
  const recount = (value: string, host: string): void => {
    const before = counting.winner(value);
    const claim = claims.get(value)?.get(host);
    const counts = !value.startsWith('underlay-') || known.get(host)?.values.includes(value) === true;
    if (claim !== undefined && counts) counting.put(value, { ...claim, key: host });
    else counting.gone(value, host);
    const after = counting.winner(value);
    dirty.add(host);
    if (before?.host === after?.host) return;
    for (const each of [before, after]) if (each !== undefined) dirty.add(each.host);
  };
  const setClaim = (value: string, host: string, claim: Claimant | undefined): void => {
    const ofValue = claims.get(value) ?? new Map<string, Claimant>();
    if (claim === undefined) ofValue.delete(host);
    else ofValue.set(host, claim);
    if (ofValue.size === 0) claims.delete(value);
    else claims.set(value, ofValue);
    recount(value, host);
  };

  const refusalOf = (host: string, { record, values }: Known): string | undefined => {
    if (record === undefined) return 'it cannot be read';
    for (const value of values) {
      if (claims.get(value)?.has(host) !== true)
        return `it names ${value.replace('-', ' ')}, which it does not claim`;
      const winner = counting.winner(value);
      if (winner !== undefined && winner.host !== host)
        return `it names ${value.replace('-', ' ')}, which belongs to the host ${winner.host}`;
    }
    return undefined;
  };

  const forget = (host: string): void => {
    const former = known.get(host);
    known.delete(host);
    dirty.add(host);
    for (const value of former?.values ?? []) {
      // A value that was claimed only by the record is no longer claimed.
      if (former?.offered.isOld === true && claims.get(value)?.get(host)?.key === former.offered.key)
        setClaim(value, host, undefined);
      else recount(value, host);
    }
  };

  return {
    claim: (value, claimant) => setClaim(value, claimant.host, claimant),
    unclaim: (value, host) => setClaim(value, host, undefined),
    offer(host, offered) {
      forget(host);
      const record = readHost(offered.value);
      const values = record === undefined ? [] : identitiesOf(record);
      known.set(host, { offered, record, values });
      for (const value of values) {
        if (offered.isOld && claims.get(value)?.has(host) !== true)
          setClaim(value, host, { ...offered, host, modRevision: offered.createRevision });
        else recount(value, host);
      }
    },
    withdraw: forget,
    settle() {
      const settled = new Map<string, Settled>();
      for (const host of dirty) {
        const now = known.get(host);
        const refused = now && refusalOf(host, now);
        if (now === undefined) accepted.delete(host);
        else if (refused === undefined) accepted.set(host, now);
        const taken = accepted.get(host);
        if (taken !== undefined && taken !== now && refusalOf(host, taken) !== undefined)
          accepted.delete(host);
        settled.set(host, {
          value: accepted.get(host)?.offered.value,
          ...(refused !== undefined && { refused }),
        });
      }
      dirty = new Set();
      return settled;
    },
    clear() {
      claims.clear();
      counting.clear();
      known.clear();
      accepted.clear();
      dirty.clear();
    },
  };
}

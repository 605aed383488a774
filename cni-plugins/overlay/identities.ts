import { createContests } from './contests.ts';
import type { Claimant } from './contests.ts';
import { identitiesOf, readHost } from './records.ts';
import type { HostRecord } from './records.ts';

/**
 * Which host's record is taken: one that names only what its host claimed first. A MAC address and a public key are a host's until it gives them up; the
 * address of the underlay is its own while its record is there, as another machine may get it afterwards. Pure.
 */
export interface Identities {
  claim(value: string, claimant: Claimant): void;
  unclaim(value: string, host: string): void;
  /** Of a host of the former version the record is the claim as well. */
  offer(host: string, offered: Offered): void;
  withdraw(host: string): void;
  /** Records of hosts that something changed for since the last call. A record that cannot be taken leaves the former one, where that still can. */
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
  /** Undefined: none is taken. */
  readonly value: Buffer | undefined;
  /** Why the record that is there is not taken. */
  readonly refused?: string;
}

interface Known {
  readonly offered: Offered;
  readonly record: HostRecord | undefined;
  readonly values: readonly string[];
}

export function createIdentities(): Identities {
  /** By value and host. */
  const claims = new Map<string, Map<string, Claimant>>();
  /** Claims that count: of an address of the underlay only while a record of the host names it. */
  const counting = createContests();
  const known = new Map<string, Known>();
  const accepted = new Map<string, Known>();
  let dirty = new Set<string>();

  /** Brings in line whether a host's claim of the value counts. Whoever wins or loses by it is looked at again. */
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
      if (claims.get(value)?.has(host) !== true) return `it names ${value.replace('-', ' ')}, which it does not claim`;
      const winner = counting.winner(value);
      if (winner !== undefined && winner.host !== host) return `it names ${value.replace('-', ' ')}, which is the host ${winner.host}'s`;
    }
    return undefined;
  };

  const forget = (host: string): void => {
    const former = known.get(host);
    known.delete(host);
    dirty.add(host);
    for (const value of former?.values ?? []) {
      // What was claimed by the record alone is claimed no longer.
      if (former?.offered.isOld === true && claims.get(value)?.get(host)?.key === former.offered.key) setClaim(value, host, undefined);
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
        if (taken !== undefined && taken !== now && refusalOf(host, taken) !== undefined) accepted.delete(host);
        settled.set(host, { value: accepted.get(host)?.offered.value, ...(refused !== undefined && { refused }) });
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

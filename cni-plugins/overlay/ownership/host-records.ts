import type { Claimant } from './contests.ts';
import type { Facts, Written } from './facts.ts';
import { createIdentities } from './identities.ts';
import type { Keys } from '../records/records.ts';
import type { Refusals } from './refusals.ts';

/**
 * The records of all hosts, and the identities that they claim. An accepted record is a fact; the key of any
 * other one is refused. Pure.
 */
export interface HostRecords {
  /** Adds the record that the host wrote under its own keys. It replaces a record of the former version. */
  put(host: string, written: Required<Written>): void;
  gone(host: string): void;
  /** Adds a record in the form of the former version. */
  putOld(host: string, written: Required<Written>): void;
  goneOld(host: string): void;
  claim(identity: string, claimant: Claimant): void;
  unclaim(identity: string, host: string): void;
  /** Returns why the host's own record is refused; undefined when it is accepted or does not exist. */
  refusalOf(host: string): string | undefined;
  /** Returns the hosts whose daemon is of the former version, which writes facts as keys. */
  oldHosts(): readonly string[];
  clear(): void;
}

export interface HostRecordsDeps {
  readonly keys: Keys;
  readonly facts: Facts;
  readonly refusals: Refusals;
}

export function createHostRecords({ keys, facts, refusals }: HostRecordsDeps): HostRecords {
  const identities = createIdentities();
  /** Hosts that have a record in the form of the former version, and no other record. */
  const old = new Set<string>();
  const recordRefusals = new Map<string, string>();

  const settle = (): void => {
    for (const [host, { value, refused: why }] of identities.settle()) {
      facts.say(keys.host(host), value);
      const key = keys.own(host).record;
      if (why === undefined) {
        recordRefusals.delete(host);
        refusals.lift(key);
      } else {
        recordRefusals.set(host, why);
        refusals.refuse(key, why);
      }
    }
  };

  return {
    put(host, { key, value, createRevision }) {
      old.delete(host);
      identities.offer(host, { key, value, createRevision, isOld: false });
      settle();
    },
    gone(host) {
      identities.withdraw(host);
      recordRefusals.delete(host);
      settle();
    },
    putOld(host, { key, value, createRevision }) {
      old.add(host);
      identities.offer(host, { key, value, createRevision, isOld: true });
      settle();
    },
    goneOld(host) {
      if (!old.delete(host)) return;
      identities.withdraw(host);
      settle();
    },
    claim(identity, claimant) {
      identities.claim(identity, claimant);
      settle();
    },
    unclaim(identity, host) {
      identities.unclaim(identity, host);
      settle();
    },
    refusalOf: (host) => recordRefusals.get(host),
    oldHosts: () => [...old],
    clear() {
      old.clear();
      recordRefusals.clear();
      identities.clear();
    },
  };
}

import type { ServerKey } from '../model/model.ts';

/** A service that claims an address. */
export interface Claimant {
  readonly name: string;
  /** 0 is the best rank. */
  readonly rank: number;
  /** Milliseconds since 1970. Absent: unknown, and the claim comes after all others of its rank. */
  readonly createdAt?: number;
}

/**
 * Returns a negative number if `a` has the better claim. The result is the same on every host and in every
 * order of arrival.
 */
export function compared(a: Claimant, b: Claimant): number {
  const age = (a.createdAt ?? Infinity) - (b.createdAt ?? Infinity);
  return a.rank - b.rank || (Number.isNaN(age) ? 0 : age) || (a.name < b.name ? -1 : Number(a.name > b.name));
}

/** The services that wait for addresses that others hold. */
export interface WaitingClaims {
  add(key: ServerKey, claimant: Claimant): void;
  delete(key: ServerKey, name: string): void;
  /** Returns the best claim to the key, of those services that may have it. */
  best(key: ServerKey, mayHave?: (name: string) => boolean): Claimant | undefined;
  /** Returns how many services wait for an address. */
  services(): number;
}

export function createWaitingClaims(): WaitingClaims {
  /** Waiting claimants by name. Thousands may claim one address, and most of them are never compared. */
  const waiting = new Map<ServerKey, Map<string, Claimant>>();
  return {
    add(key, claimant) {
      const others = waiting.get(key) ?? new Map<string, Claimant>();
      waiting.set(key, others.set(claimant.name, claimant));
    },
    delete(key, name) {
      if (waiting.size === 0) return;
      const others = waiting.get(key);
      if (others?.delete(name) === true && others.size === 0) waiting.delete(key);
    },
    best(key, mayHave = () => true) {
      if (waiting.size === 0) return undefined;
      let best: Claimant | undefined;
      for (const each of waiting.get(key)?.values() ?? [])
        if ((best === undefined || compared(each, best) < 0) && mayHave(each.name)) best = each;
      return best;
    },
    services: () => new Set([...waiting.values()].flatMap((all) => [...all.keys()])).size,
  };
}

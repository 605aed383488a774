import { hash } from 'node:crypto';

/**
 * Returns the names in an order specific to the host (rendezvous hashing). If there are too many names, a
 * host uses the first ones. All hosts together use all names, and adding or removing one moves no other.
 * Pure.
 * @param host a name that no other host has
 */
export function inOwnOrder(names: Iterable<string>, host: string): string[] {
  const keyed = Array.from(names, (name) => [hash('sha1', `${host} ${name}`), name] as const);
  return keyed.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, name]) => name);
}

/** Returns the place of each name in that order. */
export const placesInOwnOrder = (names: Iterable<string>, host: string): ReadonlyMap<string, number> =>
  new Map(inOwnOrder(names, host).map((name, place) => [name, place]));

import { hash } from 'node:crypto';

/**
 * In an order that is each host's own: of too many it takes the first, all hosts together take all, and who comes or goes moves nobody else
 * (rendezvous hashing). Pure.
 * @param host what no other host has: its name
 */
export function inOwnOrder(names: Iterable<string>, host: string): string[] {
  const keyed = Array.from(names, (name) => [hash('sha1', `${host} ${name}`), name] as const);
  return keyed.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, name]) => name);
}

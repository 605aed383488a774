import { addElements, deleteElements } from '../../../base/netlink/index.ts';
import type { Element, NamedSet, Request, Table } from '../../../base/netlink/index.ts';
import { bitsOf, ipBytes, lastOf, networkOf, parsePrefix } from '../../../base/addresses/index.ts';
import type { Family, VirtualServer } from '../model/model.ts';

/** The sources of connections from inside the node, in one set for all servers. Pure. */

/** Prefixes of the pods of this node, as intervals. */
export const insideSourcesSet = 'inside_sources';

/** Returns the definition of the set. */
export const insideSourcesOfFamily = (family: Family): NamedSet => ({
  name: insideSourcesSet,
  key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'],
  interval: true,
});

/** Returns the prefixes of a server as one word, to count the servers that have the same. */
export const insideSourcesOf = ({ insideSources = [] }: VirtualServer): string => insideSources.join(' ');

/**
 * Returns the intervals of all these prefixes, each as the key of its first address and the key after its
 * last one.
 * @param sources as {@link insideSourcesOf} returns them
 */
export function insideElements(sources: Iterable<string>, family: Family): readonly Element[] {
  const all = [...new Set(sources)]
    .flatMap((words) => words.split(' '))
    .flatMap((text) => parsePrefix(text) ?? []);
  const intervals = all
    .filter(({ address }) => address.family === family)
    .map((prefix) => ({ low: networkOf(prefix).value, high: lastOf(prefix).value }))
    .toSorted((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0));
  const merged: { low: bigint; high: bigint }[] = [];
  for (const { low, high } of intervals) {
    const last = merged.at(-1);
    if (last === undefined || low > last.high + 1n) merged.push({ low, high });
    else if (high > last.high) last.high = high;
  }
  const end = (1n << BigInt(bitsOf(family))) - 1n;
  return merged.flatMap(({ low, high }) => [
    { key: ipBytes({ family, value: low }) },
    ...(high === end ? [] : [{ key: ipBytes({ family, value: high + 1n }), end: true }]),
  ]);
}

const textOf = (elements: readonly Element[]): string =>
  elements
    .map(({ key, end = false }) => `${Buffer.from(key).toString('hex')} ${end}`)
    .toSorted()
    .join();

/** Returns the requests that replace the elements of the set. None, if both are the same. */
export function insideChanges(
  table: Table,
  before: readonly Element[],
  after: readonly Element[],
): readonly Request[] {
  if (textOf(before) === textOf(after)) return [];
  return [...deleteElements(table, insideSourcesSet, before), ...addElements(table, insideSourcesSet, after)];
}

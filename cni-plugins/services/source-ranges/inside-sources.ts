import { addElements, deleteElements } from '../../../base/netlink/index.ts';
import type { Element, NamedSet, Request, Table } from '../../../base/netlink/index.ts';
import { bitsOf, ipBytes, lastOf, networkOf, parsePrefix } from '../../../base/addresses/index.ts';
import type { Family, ServerKey, VirtualServer } from '../model/model.ts';

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

/** The servers with sources of connections from inside, and the sources of each as one word. */
export interface InsideServers {
  readonly size: number;
  has(key: ServerKey): boolean;
  set(key: ServerKey, sources: string): void;
  delete(key: ServerKey): void;
  /** Returns the sources of all servers, each once. */
  sources(): Iterable<string>;
  /**
   * Returns what {@link InsideServers.sources} would return after these changes, or undefined if they make no
   * difference. Its cost grows with the changes, not with the servers.
   * @param changes each with the sources of a server; undefined: it has none any more
   */
  sourcesAfter(
    changes: Iterable<readonly [ServerKey, sources: string | undefined]>,
  ): readonly string[] | undefined;
}

export function createInsideServers(): InsideServers {
  const byKey = new Map<ServerKey, string>();
  /** The number of servers by their sources: most have the same. */
  const counts = new Map<string, number>();
  const count = (sources: string, more: 1 | -1, all = counts): void => {
    const now = (all.get(sources) ?? 0) + more;
    if (now === 0) all.delete(sources);
    else all.set(sources, now);
  };
  const remove = (key: ServerKey): void => {
    const before = byKey.get(key);
    if (before !== undefined) count(before, -1);
    byKey.delete(key);
  };
  return {
    get size() {
      return byKey.size;
    },
    has: (key) => byKey.has(key),
    set(key, sources) {
      remove(key);
      byKey.set(key, sources);
      count(sources, 1);
    },
    delete: remove,
    sources: () => counts.keys(),
    sourcesAfter(changes) {
      let after: Map<string, number> | undefined;
      for (const [key, sources] of changes) {
        const before = byKey.get(key);
        if (before === sources) continue;
        after ??= new Map(counts);
        if (before !== undefined) count(before, -1, after);
        if (sources !== undefined) count(sources, 1, after);
      }
      if (after === undefined) return undefined;
      const isSame = after.size === counts.size && [...after.keys()].every((sources) => counts.has(sources));
      return isSame ? undefined : [...after.keys()];
    },
  };
}

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

import { contains, formatIp, networkOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { createCollection, fieldsOf, listOf, nameOf, textOf } from '../../../base/kubernetes/index.ts';
import type { ListedCollection } from '../../../base/kubernetes/index.ts';

/**
 * The prefixes from which the API server allots cluster addresses: ServiceCIDR of networking.k8s.io/v1
 * (KEP-1880). Pure.
 */
export interface ServiceRanges {
  readonly collection: ListedCollection;
  /**
   * Returns the prefixes in canonical form, sorted, and those that are left out, each with the reason.
   * @param reserved addresses that are not Services: a prefix that has one is left out
   */
  prefixes(reserved: readonly string[]): {
    readonly prefixes: readonly string[];
    readonly left: readonly string[];
  };
}

/** A cluster has one or two, and a few more after it has grown. */
const mostPrefixes = 64;
/** Every wider prefix has addresses that are none of a cluster's. */
const shortest: Readonly<Record<4 | 6, number>> = { 4: 8, 6: 32 };

export function createServiceRanges(changed: () => void): ServiceRanges {
  const ranges = new Map<string, readonly string[]>();
  const collection = createCollection<readonly string[]>(
    (object) =>
      listOf(fieldsOf(fieldsOf(object)['spec'])['cidrs'])
        .slice(0, 2)
        .map(textOf),
    () => ranges.keys(),
    (key, texts) => {
      if (texts === undefined) ranges.delete(key);
      else ranges.set(key, texts);
    },
  );
  const then =
    (act: (object: unknown) => void) =>
    (object: unknown): void => {
      if (nameOf(object) === undefined) return;
      act(object);
      changed();
    };
  return {
    collection: {
      ...collection,
      changed: then(collection.changed),
      removed: then(collection.removed),
      complete() {
        collection.complete();
        changed();
      },
    },
    prefixes(reserved) {
      const left: string[] = [];
      const found = new Set<string>();
      for (const text of new Set([...ranges.values()].flat())) {
        const prefix = parsePrefix(text);
        if (prefix === undefined) {
          left.push(`${JSON.stringify(text)} is not a prefix`);
          continue;
        }
        const { family } = prefix.address;
        const within = reserved.find((address) => {
          const parsed = parseIp(address);
          return parsed?.family === family && contains(prefix, parsed);
        });
        if (prefix.length < shortest[family]) left.push(`${text} is shorter than /${shortest[family]}`);
        else if (within !== undefined)
          left.push(`${text} contains ${within}, which is not a Service address`);
        else found.add(`${formatIp(networkOf(prefix))}/${prefix.length}`);
      }
      const all = [...found].toSorted();
      if (all.length > mostPrefixes) left.push(`there are ${all.length} prefixes, more than ${mostPrefixes}`);
      return { prefixes: all.slice(0, mostPrefixes), left };
    },
  };
}

import { append } from '../lists/index.ts';

/**
 * Limits for objects of the API that users of namespaces write. Without a limit, one namespace could use what
 * the objects of all namespaces need on every node. Pure.
 */
export interface NamespaceLimits {
  /**
   * Notes the size of the object of a key, `namespace/name`; undefined: it is gone.
   * @returns the keys of objects that are dropped, which count no more: the largest of the namespace, or, if
   *   all namespaces together exceed their limit, those of the namespaces that use most
   */
  put(key: string, size: number | undefined): readonly string[];
}

/** The part of a limit that is used after objects were dropped: the next objects need not be compared. */
const room = 0.9;

/** The objects of one namespace. */
interface Sizes {
  total: number;
  readonly byKey: Map<string, number>;
}

/**
 * Returns limits without any object.
 * @param limits of one namespace, and of all namespaces together, in the unit of the sizes
 */
export function createNamespaceLimits({
  ofNamespace,
  ofAll,
}: {
  readonly ofNamespace: number;
  readonly ofAll: number;
}): NamespaceLimits {
  const namespaces = new Map<string, Sizes>();
  let total = 0;

  function note(key: string, size: number | undefined): Sizes {
    const namespace = key.slice(0, key.indexOf('/'));
    const sizes = namespaces.get(namespace) ?? { total: 0, byKey: new Map<string, number>() };
    const by = (size ?? 0) - (sizes.byKey.get(key) ?? 0);
    sizes.total += by;
    total += by;
    if (size === undefined) sizes.byKey.delete(key);
    else sizes.byKey.set(key, size);
    if (sizes.byKey.size === 0) namespaces.delete(namespace);
    else namespaces.set(namespace, sizes);
    return sizes;
  }

  /** Drops the largest objects of a namespace, which then count no more, while `isTooLarge`. */
  function shrink(sizes: Sizes, isTooLarge: () => boolean): string[] {
    const dropped: string[] = [];
    for (const [key] of [...sizes.byKey].sort(([, a], [, b]) => b - a)) {
      if (!isTooLarge()) break;
      note(key, undefined);
      dropped.push(key);
    }
    return dropped;
  }

  function largest(): Sizes {
    return [...namespaces.values()].reduce((most, one) => (one.total > most.total ? one : most));
  }

  return {
    put(key, size) {
      const sizes = note(key, size);
      const dropped: string[] = [];
      // An object that is not smaller than most of the others leaves, so that those that were there stay.
      const isOneOfTheLargest = size !== undefined && size * sizes.byKey.size >= sizes.total;
      if (sizes.total > ofNamespace && isOneOfTheLargest) {
        note(key, undefined);
        dropped.push(key);
      }
      if (sizes.total > ofNamespace)
        append(
          dropped,
          shrink(sizes, () => sizes.total > room * ofNamespace),
        );
      if (total <= ofAll) return dropped;
      while (total > room * ofAll) {
        const most = largest();
        const half = most.total / 2;
        append(
          dropped,
          shrink(most, () => most.total > half && total > room * ofAll),
        );
      }
      return dropped;
    },
  };
}

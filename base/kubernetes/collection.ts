import { nameOf } from './object-fields.ts';

/** The input for one collection of the API, with objects as the API sends them. */
export interface Collection {
  begin(): void;
  listed(object: unknown): void;
  complete(): void;
  changed(object: unknown): void;
  removed(object: unknown): void;
}

/** A collection that reports whether a complete list has arrived at least once. */
export interface ListedCollection extends Collection {
  came(): boolean;
}

/**
 * Passes objects on, by their names, as they are listed and as they change. Listed objects count at once.
 * Objects that are missing from the list go when the list is complete, so an interrupted list does no harm.
 * @param read returns undefined for an object that does not count
 * @param known returns the keys of the objects that exist
 * @param put gets undefined for an object that is gone or does not count
 */
export function createCollection<T>(
  read: (object: unknown) => T | undefined,
  known: () => Iterable<string>,
  put: (key: string, one: T | undefined) => void,
): ListedCollection {
  let missing = new Set<string>();
  let came = false;
  const changed = (object: unknown): void => {
    const key = nameOf(object);
    if (key === undefined) return;
    // The search of an empty set would first look up the text among all texts of the thread.
    if (missing.size > 0) missing.delete(key);
    put(key, read(object));
  };
  return {
    begin: () => void (missing = new Set(known())),
    listed: changed,
    complete() {
      for (const key of missing) put(key, undefined);
      missing = new Set();
      came = true;
    },
    changed,
    removed(object: unknown) {
      const key = nameOf(object);
      if (key !== undefined) put(key, undefined);
    },
    came: () => came,
  };
}

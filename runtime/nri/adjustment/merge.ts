import { PortcullisError } from '../../../base/errors/index.ts';
import type { Change, Changes, Removal } from './change.ts';

/** An entry, and the plugin that asks for it. */
export interface OwnedChange extends Change {
  readonly plugin: string;
}

export interface OwnedRemoval extends Removal {
  readonly plugin: string;
}

/** The changes of all plugins together. */
export interface Merged {
  /** In the order in which they were first set. */
  readonly set: readonly OwnedChange[];
  /** Also when an entry of the same key was set afterwards. */
  readonly removed: readonly OwnedRemoval[];
}

export interface Merge {
  /**
   * Adds the changes of one plugin. Call it in the order of the plugins.
   * @throws PortcullisError NRI_CONFLICT, which names both plugins. The merge must not be used afterwards
   */
  add(plugin: string, changes: Changes): void;
  merged(): Merged;
}

/** The maximum number of entries of one response: more than any container has. */
const mostEntries = 4096;

/**
 * Merges the adjustments of several plugins. Two plugins that set the same entry are in conflict. A plugin
 * may first remove an entry of an earlier plugin, and then set it; no other plugin may set this entry then.
 * Hooks do not conflict: all of them run. The removals of a response are applied before the entries that it
 * sets.
 * Source: nri, pkg/adaptation/result.go and pkg/api/owners.go.
 * @param on names the container in errors
 */
export function createMerge(on: string): Merge {
  const owners = new Map<string, { readonly plugin: string; readonly cleared: boolean }>();
  const set = new Map<string, OwnedChange>();
  const removed = new Map<string, OwnedRemoval>();
  let hooks = 0;
  return {
    add: (plugin, changes) => {
      if (changes.set.length + changes.removed.length > mostEntries)
        throw new PortcullisError({
          code: 'NRI_TOO_LARGE',
          kind: 'invalid',
          attempted: 'adjust container',
          on,
          why: `the NRI plugin ${plugin} changes ${changes.set.length + changes.removed.length} entries`,
          fix: `change at most ${mostEntries} entries`,
        });
      for (const { field, key } of changes.removed) {
        const id = identity(field, key);
        if (set.delete(id)) owners.set(id, { plugin, cleared: true });
        removed.set(id, { field, key, plugin });
      }
      for (const change of changes.set) {
        // Several hooks may run the same program.
        const id = identity(change.field, change.field === 'hook' ? String(hooks++) : change.key);
        const owner = owners.get(id);
        if (owner !== undefined && !(owner.cleared && owner.plugin === plugin))
          throw conflict(on, plugin, owner.plugin, change);
        owners.set(id, { plugin, cleared: false });
        set.set(id, { ...change, plugin });
      }
    },
    merged: () => ({ set: [...set.values()], removed: [...removed.values()] }),
  };
}

function identity(field: string, key: string): string {
  return `${field}\0${key}`;
}

function conflict(on: string, plugin: string, other: string, { field, key }: Change): PortcullisError {
  const what = key === '' ? field : `${field} ${JSON.stringify(key.slice(0, 300))}`;
  return new PortcullisError({
    code: 'NRI_CONFLICT',
    kind: 'precondition',
    attempted: 'adjust container',
    on,
    why:
      plugin === other
        ? `the NRI plugin ${plugin} sets ${what} twice`
        : `the NRI plugins ${other} and ${plugin} both set ${what}`,
    fix: 'configure the plugins so that only one of them sets it',
    details: { plugins: [...new Set([other, plugin])], field, key: key.slice(0, 300) },
  });
}

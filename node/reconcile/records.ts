import { createSerialQueue } from '../../base/queues/index.ts';
import type { Owned, Section } from '../model/types.ts';
import type { NodeFiles, OwnedItems } from '../store/node-files.ts';

/** Records of the items that we made on this node. A change is recorded on disk before it takes effect. */
export interface Records {
  of(section: Section): ReadonlyMap<string, Owned>;
  /** Returns when the record is on disk. Undefined drops it. @throws STORAGE_… */
  set(section: Section, changes: ReadonlyMap<string, Owned | undefined>): Promise<void>;
}

/** @throws NODE_STATE_DAMAGED */
export async function openRecords(files: Pick<NodeFiles, 'readOwned' | 'writeOwned'>): Promise<Records> {
  const bySection = new Map<Section, Map<string, Owned>>(
    Object.entries(await files.readOwned()).map(([section, items]) => [
      section as Section,
      new Map(Object.entries(items)),
    ]),
  );
  const queue = createSerialQueue();
  const inOrder = (): OwnedItems =>
    Object.fromEntries([...bySection].map(([section, items]) => [section, Object.fromEntries(items)]));
  return {
    of: (section) => bySection.get(section) ?? new Map<string, Owned>(),
    set: (section, changes) =>
      queue(async () => {
        if (changes.size === 0) return;
        const before = bySection.get(section) ?? new Map<string, Owned>();
        const items = new Map(before);
        for (const [name, record] of changes)
          if (record === undefined) items.delete(name);
          else items.set(name, record);
        bySection.set(section, items);
        try {
          await files.writeOwned(inOrder());
        } catch (thrown) {
          bySection.set(section, before);
          throw thrown;
        }
      }),
  };
}

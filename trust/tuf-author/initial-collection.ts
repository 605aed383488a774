import { topRoles } from '../tuf-metadata/model.ts';
import type { Dialect, TopRole } from '../tuf-metadata/model.ts';
import { rotateKeys } from './changes.ts';
import type { KeyChange } from './changes.ts';
import { emptyRole } from './collection.ts';
import type { Collection } from './collection.ts';

/** Returns a collection that signs nothing yet. @throws TRUST_AUTHOR_THRESHOLD */
export function beginCollection(dialect: Dialect, keys: Readonly<Record<TopRole, KeyChange>>): Collection {
  const nobody = { keyids: [], threshold: 1 };
  const empty: Collection = {
    dialect,
    keys: new Map(),
    roles: { root: nobody, timestamp: nobody, snapshot: nobody, targets: nobody },
    targets: new Map([['targets', emptyRole]]),
  };
  return topRoles.reduce((collection, role) => rotateKeys(collection, role, keys[role]), empty);
}

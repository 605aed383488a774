import type { Destination } from './destination.ts';
import type { OwnerKeys } from './owner-keys.ts';
import type { WorkingFolder } from './working-folder.ts';

/** A collection with the keys of its owner, opened for one run. */
export interface OwnedCollection {
  readonly name: string;
  readonly working: WorkingFolder;
  readonly keys: OwnerKeys;
  readonly now: Date;
  /** Opens a place to publish to. @throws TRUST_AUTHOR_DESTINATION */
  readonly open: (address: string) => Promise<Destination>;
}

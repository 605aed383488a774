import type { Dialect } from '../tuf-metadata/model.ts';
import type { NewFile } from './accept-input.ts';
import {
  nextNotarySnapshot,
  nextNotaryTimestamp,
  nextTufSnapshot,
  nextTufTimestamp,
} from './online-files.ts';
import { expiryOf, readRoot } from './remembered-files.ts';
import { heldKeys } from './online-keys.ts';
import type { OnlineKey } from './online-keys.ts';

/**
 * Signs the files again that have expired when one of them is requested (server/timestamp/timestamp.go of
 * Notary 0.7.0): the service's own snapshot, and the timestamp. Pure. Returns no files when the service does
 * not hold the keys: the expired files then stay, and clients report them.
 */
export function renewOnline(
  dialect: Dialect,
  files: ReadonlyMap<string, NewFile>,
  online: readonly OnlineKey[],
  now: number,
): NewFile[] {
  const [root, snapshot, timestamp] = [files.get('root'), files.get('snapshot'), files.get('timestamp')];
  if (root === undefined || snapshot === undefined || timestamp === undefined) return [];
  const { roles, keys } = readRoot(dialect, root.bytes).signed;
  const [forSnapshot, forTimestamp] = [
    heldKeys(roles.snapshot, keys, online),
    heldKeys(roles.timestamp, keys, online),
  ];
  if (forTimestamp.length < roles.timestamp.threshold) return [];
  const made: NewFile[] = [];
  let current = snapshot;
  if (expiryOf(dialect, 'snapshot', snapshot.bytes) <= now) {
    // The service cannot repair an expired snapshot of the publisher: a new timestamp would only claim that
    // it is current.
    if (forSnapshot.length < roles.snapshot.threshold) return [];
    const input = { former: snapshot.bytes, files: [], held: forSnapshot, now };
    current = dialect === 'notary' ? nextNotarySnapshot(input) : nextTufSnapshot(input);
    made.push(current);
  }
  const input = { former: timestamp.bytes, snapshot: current, held: forTimestamp, now };
  return [...made, dialect === 'notary' ? nextNotaryTimestamp(input) : nextTufTimestamp(input)];
}

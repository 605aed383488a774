import type { Dialect } from '../tuf/metadata/model.ts';
import type { NewFile } from './accept-input.ts';
import { nextNotarySnapshot, nextNotaryTimestamp, nextTufSnapshot, nextTufTimestamp } from './online-files.ts';
import { readRoot, readSnapshot } from './remembered-files.ts';
import { heldKeys } from './online-keys.ts';
import type { OnlineKey } from './online-keys.ts';

/**
 * What the service signs anew when it is asked for a file that has expired (server/timestamp/timestamp.go of Notary 0.7.0): its own
 * snapshot, and the timestamp. Pure. Empty where it does not hold the keys: then the expired files stand, and clients say so.
 */
export function renewOnline(dialect: Dialect, files: ReadonlyMap<string, Buffer>, online: readonly OnlineKey[], now: number): NewFile[] {
  const [root, snapshot, timestamp] = [files.get('root'), files.get('snapshot'), files.get('timestamp')];
  if (root === undefined || snapshot === undefined || timestamp === undefined) return [];
  const { roles, keys } = readRoot(dialect, root).signed;
  const [forSnapshot, forTimestamp] = [heldKeys(roles.snapshot, keys, online), heldKeys(roles.timestamp, keys, online)];
  if (forTimestamp.length < roles.timestamp.threshold) return [];
  const read = readSnapshot(dialect, snapshot).signed;
  const made: NewFile[] = [];
  let current: NewFile = { role: 'snapshot', version: read.version, bytes: snapshot };
  if (read.expires <= now) {
    // An expired snapshot of the publisher's can not be mended here: a new timestamp would only say that it is current.
    if (forSnapshot.length < roles.snapshot.threshold) return [];
    const input = { former: snapshot, files: [], held: forSnapshot, now };
    current = dialect === 'notary' ? nextNotarySnapshot(input) : nextTufSnapshot(input);
    made.push(current);
  }
  const input = { former: timestamp, snapshot: current, held: forTimestamp, now };
  return [...made, dialect === 'notary' ? nextNotaryTimestamp(input) : nextTufTimestamp(input)];
}

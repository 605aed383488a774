import type { Dialect } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { Standing } from './collection.ts';
import { clockDifferenceMs } from './issue.ts';
import { typeOf } from './publish.ts';

/**
 * A file that expires sooner than the file that it replaces: its lifetime was shortened, or one of the two
 * was signed with a wrong clock. Times in ISO 8601.
 */
export interface SoonerExpiry {
  readonly dialect: Dialect;
  readonly role: string;
  readonly expires: string;
  /** When the replaced file expires. */
  readonly before: string;
}

/** Returns the new files that expire sooner than the files before them, by more than clocks differ. */
export function soonerThan(dialect: Dialect, before: Standing, files: Standing): SoonerExpiry[] {
  const expiryOf = (role: string, bytes: Buffer): number =>
    readMetadata(dialect, typeOf(role), bytes).signed.expires;
  return [...files].flatMap(([role, bytes]) => {
    const former = before.get(role);
    if (former === undefined) return [];
    const [expires, was] = [expiryOf(role, bytes), expiryOf(role, former)];
    if (expires >= was - clockDifferenceMs) return [];
    const dates = { expires: new Date(expires).toISOString(), before: new Date(was).toISOString() };
    return [{ dialect, role, ...dates }];
  });
}

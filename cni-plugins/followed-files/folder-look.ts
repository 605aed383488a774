import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { FolderLimits } from './messages.ts';
import { stampsOf } from './stamps.ts';
import type { HeldFiles } from './last-good-files.ts';

/** Checks a folder as a whole before its files are checked. */
export interface FolderLook {
  /**
   * Checks the folder, and then its files.
   * @param lost why the configuration last in force is unknown; a folder without files does not count as an
   * empty configuration then
   * @returns why the folder is ignored, or `''` if it never contained files; undefined if its files were
   * checked
   */
  look(lost?: string): string | undefined;
  /** Returns device and inode of the folder that was checked last. */
  identity(): string;
}

export interface FolderLookOptions {
  readonly folder: string;
  /** Returns the path at which the folder can be read now; it may throw. Defaults to the folder itself. */
  readonly at?: () => string;
  readonly limits: FolderLimits;
  /** The identity from an earlier run. */
  readonly identity?: string;
  /** Names what the files define, for messages. */
  readonly what: string;
  /** How to declare explicitly that there are none, for messages. */
  readonly none: string;
}

/**
 * Creates a check that keeps the state in force if the folder is gone, cannot be listed, or holds more than
 * is read. The same applies to a folder that is empty and not the previous one (for example after an
 * unmount).
 */
export function createFolderLook(
  files: Pick<HeldFiles<object>, 'isEmpty' | 'look'>,
  { folder, at = () => folder, limits, identity: known = '', what, none }: FolderLookOptions,
): FolderLook {
  let identity = known;
  const kept = `the last ${what} stay in force`;
  return {
    identity: () => identity,
    look(lost = '') {
      let place: string;
      try {
        place = at();
      } catch (thrown) {
        return `${folder} ${isPortcullisError(thrown) ? `cannot be read: ${thrown.failure.why}` : reasonOf(thrown)}; ${kept}`;
      }
      const found = stampsOf(place, limits, what);
      if (found === 'missing') return files.isEmpty() && lost === '' ? '' : `${folder} is gone; ${kept}`;
      if ('problem' in found) return `${folder} ${found.problem}; ${kept}`;
      if (found.files.size === 0 && lost !== '') return lost;
      if (found.files.size === 0 && !files.isEmpty() && found.identity !== identity)
        return `${folder} is empty, and is not the same folder as before; ${kept}: ${none} there to have none`;
      files.look(found.files, place);
      ({ identity } = found);
      return undefined;
    },
  };
}

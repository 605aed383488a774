import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { FolderLimits } from './messages.ts';
import { stampsOf } from './stamps.ts';
import type { HeldFiles } from './held-files.ts';

/** Looks at a folder as a whole, before its files are looked at. */
export interface FolderLook {
  /**
   * @param lost why it is not known what was in force: then a folder without files is no word
   * @returns why the folder says nothing, and `''` where it never said anything; undefined: its files were looked at
   */
  look(lost?: string): string | undefined;
  /** Device and inode of the folder that was looked at last. */
  identity(): string;
}

export interface FolderLookOptions {
  readonly folder: string;
  /** Where it can be read now; it may throw. The folder itself unless given. */
  readonly at?: () => string;
  readonly limits: FolderLimits;
  /** Of an earlier run. */
  readonly identity?: string;
  /** What a folder has, in words. */
  readonly what: string;
  /** How to write that there are none. */
  readonly none: string;
}

/** A folder that is gone, cannot be listed, holds more than is read, or is another one and empty (nothing is mounted there any more) changes nothing. */
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
        return `${folder} is empty, and another folder than before; ${kept}: ${none} there to have none`;
      files.look(found.files, place);
      ({ identity } = found);
      return undefined;
    },
  };
}

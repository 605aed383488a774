import type { Database } from '../../base/storage/index.ts';
import { recordedStatements } from './record-statements.ts';
import type { NameOwner } from './record-statements.ts';
import type { Admission, StoredImage } from './stored-image.ts';

/**
 * Admissions that were reported as failed and may have taken effect. Their layers are removed, so the next
 * start would list images without layers, or find a name on the wrong image.
 */
export interface DoubtfulAdmissions {
  /**
   * Writes an admission. One that fails is doubtful, and is settled if that is possible.
   * @throws what `write` throws
   */
  unlessFailed(admission: Pick<Admission, 'image' | 'names'>, write: () => Promise<unknown>): Promise<void>;
  /**
   * Writes the state in memory of doubtful admissions, the oldest first. An admission that cannot be written
   * stays doubtful.
   */
  settle(): Promise<void>;
}

/** Images of one write: each failed attempt costs the same, however many images are doubtful. */
const atOnce = 64;

/**
 * @param images the recorded images by their ids
 * @param owners the ids of images by the names that they have
 */
export function createDoubtfulAdmissions(
  database: Pick<Database, 'write'>,
  images: ReadonlyMap<string, StoredImage>,
  owners: ReadonlyMap<string, string>,
): DoubtfulAdmissions {
  /** Names by ids. On a full disk, pulls of one image fail again and again. */
  const doubtful = new Map<string, Set<string>>();
  const ownersOf = (names: ReadonlySet<string>): ReadonlyMap<string, NameOwner | undefined> =>
    new Map(
      [...names].map((name) => {
        const image = images.get(owners.get(name) ?? '');
        const row = image?.names.find((each) => each.name === name);
        return [name, image && row && { row, imageId: image.id }];
      }),
    );
  const settle = async (): Promise<void> => {
    if (doubtful.size === 0) return;
    const settled = [...doubtful].slice(0, atOnce);
    try {
      await database.write(
        settled.flatMap(([id, names]) => recordedStatements(images.get(id), id, ownersOf(names))),
      );
      for (const [id] of settled) doubtful.delete(id);
    } catch {
      // The failure of the admission itself is reported. The next admission tries again.
    }
  };
  return {
    async unlessFailed({ image, names }, write) {
      try {
        await write();
      } catch (cause) {
        const known = doubtful.get(image.id) ?? [];
        doubtful.set(image.id, new Set([...known, ...names.map(({ name }) => name)]));
        await settle();
        throw cause;
      }
    },
    settle,
  };
}

import { imageError } from './limits/failures.ts';
import { tryImageName } from './image-name.ts';
import type { ImageRecords } from './records.ts';
import type { StoredImage } from './stored-image.ts';

/** Ids as crictl abbreviates them have 13 digits. */
export const idForm = /^(?:sha256:)?([0-9a-f]{12,64})$/;

export function findImage(records: ImageRecords, nameOrId: string): StoredImage | undefined {
  const hex = idForm.exec(nameOrId)?.[1];
  if (hex !== undefined) {
    const byId = records.byId(`sha256:${hex}`);
    if (byId !== undefined) return byId;
    const matches = records.list().filter((image) => image.id.startsWith(`sha256:${hex}`));
    if (matches.length === 1) return matches[0];
    if (matches.length > 1) return undefined;
    const digest = `sha256:${hex}`;
    const byDigest = records
      .list()
      .find((image) => image.names.some((name) => name.digest === digest || name.manifestDigest === digest));
    if (byDigest !== undefined) return byDigest;
  }
  const name = tryImageName(nameOrId);
  return name === undefined ? undefined : records.byName(name.text);
}

/** Returns the error for a caller that needs an image that is not recorded. */
export function gone(attempted: string, id: string): Error {
  return imageError({
    code: 'IMAGES_NOT_FOUND',
    kind: 'not-found',
    attempted,
    on: id,
    why: 'the image is not recorded',
    fix: 'pull it first',
  });
}

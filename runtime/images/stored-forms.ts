import type { ImageRecords } from './records.ts';
import type { StoredForms } from './types.ts';

/** Returns how the layers of a recorded image are stored. */
export function storedForms(records: Pick<ImageRecords, 'byId' | 'layer'>, imageId: string): StoredForms {
  const layers = records.byId(imageId)?.layers ?? [];
  const files = layers
    .flatMap(({ folder }) => records.layer(folder) ?? [])
    .filter(({ form }) => form === 'erofs');
  const verity = files.filter((row) => row.verity !== undefined).length;
  return { layers: layers.length, files: files.length, verity };
}

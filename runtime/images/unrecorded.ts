import { readdir, rm } from 'node:fs/promises';
import { storeFolders } from './folders.ts';

/**
 * Removes content that no record names and no image needs: blobs of interrupted pulls, layers that were being
 * unpacked, trash. Call it before the store is opened, if a start finds no space for the records.
 * @param root the store's folder
 * @returns whether there was any such content
 */
export async function dropUnrecorded(root: string): Promise<boolean> {
  const { ingest, staging, trash } = storeFolders(root);
  let dropped = false;
  for (const folder of [ingest, staging, trash])
    for (const name of await readdir(folder).catch(() => []))
      await rm(`${folder}/${name}`, { recursive: true, force: true }).then(
        () => (dropped = true),
        // The sweep reports what cannot be removed.
        () => undefined,
      );
  return dropped;
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failure } from '../../base/errors/index.ts';
import { makeFolderSync, writeFileAtomic } from '../../base/storage/index.ts';
import { tufFailure } from '../tuf/failure.ts';
import { verifyFile } from '../tuf/trusted-set.ts';
import { fetchTarget } from './fetch-target.ts';
import { folderStore } from './folder-store.ts';
import { httpSource } from './http-source.ts';
import { updateMetadata } from './update.ts';
import type { FoundTarget } from '../tuf/search.ts';
import type { TufUpdate } from './update.ts';

/** A client of a TUF repository that stores its trusted metadata as files of a folder. */

/**
 * Stores the initial trusted root. It is verified by the first update, which refuses a root that is not
 * signed by its own keys.
 */
export async function initialiseTuf(metadataDir: string, root: Buffer): Promise<void> {
  await folderStore(metadataDir).save('root', root);
}

/**
 * Updates the trusted metadata.
 * @throws TRUST_TUF_MISSING without a first root, the codes of ../trusted-set.ts and of the HTTP source
 */
export async function refreshTuf(input: {
  readonly metadataDir: string;
  readonly metadataUrl: string;
  readonly now: Date;
}): Promise<TufUpdate> {
  const { metadataDir, metadataUrl, now } = input;
  const store = folderStore(metadataDir);
  if ((await store.load('root')) === undefined)
    throw failure(
      'TRUST_TUF_MISSING',
      'precondition',
      'update the trusted metadata',
      metadataDir,
      'no root is trusted there yet',
      'get root.json from a trusted source, then: portcullis tuf-client --metadata-dir FOLDER init root.json',
    );
  return updateMetadata({ dialect: 'tuf', source: httpSource(metadataUrl), store, now });
}

/**
 * Updates the metadata, then downloads each target into the folder. A target that is already there as signed
 * is not downloaded again.
 * @returns the files, in the requested order
 * @throws TRUST_TUF_NO_TARGET, and the errors of refreshTuf and of the download
 */
export async function downloadTargets(input: {
  readonly metadataDir: string;
  readonly metadataUrl: string;
  readonly targetUrl: string;
  readonly targetDir: string;
  readonly paths: readonly string[];
  readonly now: Date;
}): Promise<string[]> {
  const update = await refreshTuf(input);
  const files: string[] = [];
  for (const path of input.paths) {
    const target = await update.find(path);
    if (target === undefined)
      throw tufFailure('TRUST_TUF_NO_TARGET', `target ${JSON.stringify(path)}`, 'no role has signed it');
    // A flat file name, so that a path of the repository cannot leave the folder.
    const file = join(input.targetDir, encodeURIComponent(path));
    if (!(await standsAsSigned(file, target))) {
      makeFolderSync(input.targetDir, 0o755);
      await writeFileAtomic(
        file,
        await fetchTarget(input.targetUrl, target, update.trusted.root.signed.consistentSnapshot),
        {
          mode: 0o644,
        },
      );
    }
    files.push(file);
  }
  return files;
}

async function standsAsSigned(file: string, target: FoundTarget): Promise<boolean> {
  try {
    verifyFile(target.path, await readFile(file), target);
    return true;
  } catch {
    return false;
  }
}

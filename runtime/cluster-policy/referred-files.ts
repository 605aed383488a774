import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { policyLimits, requireWithinLimits } from '../../admission/policy/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import type { NamedFiles } from '../policy/unpacked-files.ts';

/**
 * Reads the files of a folder, and of the folders in it, by their names there. Hidden ones are left out: a
 * mounted ConfigMap has such folders.
 * @throws PortcullisError `POLICY_OBJECTS_FILES` when one cannot be read; `POLICY_OBJECTS_TOO_LARGE`
 */
export async function readReferredFiles(folder: string): Promise<NamedFiles> {
  const files = new Map<string, Buffer>();
  let bytes = 0;
  const add = async (name: string): Promise<void> => {
    const read = await readPlainFile(join(folder, name), policyLimits.bytes - bytes);
    bytes += read.length;
    files.set(name, read);
    requireWithinLimits(folder, files.size, bytes);
  };
  try {
    for (const name of await visible(folder)) {
      if (!(await stat(join(folder, name))).isDirectory()) await add(name);
      else
        for (const inner of await visible(join(folder, name)))
          if (!(await stat(join(folder, name, inner))).isDirectory()) await add(`${name}/${inner}`);
    }
  } catch (error) {
    if (error instanceof PortcullisError) throw error;
    throw new PortcullisError({
      code: 'POLICY_OBJECTS_FILES',
      kind: 'unavailable',
      attempted: 'read the files that policies of the cluster name',
      on: folder,
      why: reasonOf(error),
      fix: 'correct cluster.policyFiles, or the files in this folder; until then, the policy in force stays',
      cause: error,
    });
  }
  return files;
}

const visible = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder)).filter((name) => !name.startsWith('.')).sort();

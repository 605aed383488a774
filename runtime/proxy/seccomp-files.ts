import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import { makeFolder, writeFileAtomic } from '../../base/storage/index.ts';
import type { OciSeccomp } from '../../entitlements/index.ts';
import { serialiseSeccomp } from '../oci/spec.ts';

/** Filters of system calls as files that the backend reads when it creates a container. */
export interface SeccompFiles {
  /** Returns the path of a file with this filter. @throws the errors of base/storage */
  write(filter: OciSeccomp): Promise<string>;
}

/** Removes the files of earlier runs: containers that were created from them have their filters. */
export async function openSeccompFiles(root: string): Promise<SeccompFiles> {
  const folder = join(root, 'seccomp');
  await rm(folder, { recursive: true, force: true });
  await makeFolder(folder);
  const written = new Map<string, Promise<string>>();
  return {
    write(filter) {
      const text = serialiseSeccomp(filter);
      const name = createHash('sha256').update(text).digest('hex');
      const known = written.get(name);
      if (known !== undefined) return known;
      const path = join(folder, `${name}.json`);
      const writing = writeFileAtomic(path, text, { durable: false }).then(() => path);
      written.set(name, writing);
      writing.catch(() => written.delete(name));
      return writing;
    },
  };
}

import { readFile, rm } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';

/**
 * Claims a folder for this process, until the returned function is called. A claim of a process that is gone counts for nothing.
 * @throws PortcullisError RUNTIME_ROOT_IN_USE
 */
export async function claimFolder(file: string): Promise<() => Promise<void>> {
  // Not synced when written: a power cut may leave it empty.
  const holder = await readFile(file, 'utf8')
    .then((text) => parseJson(text) as ProcessIdentity)
    .catch(() => undefined);
  if (holder !== undefined && holder.pid !== process.pid && sameProcess(holder)) {
    throw new PortcullisError({
      code: 'RUNTIME_ROOT_IN_USE',
      kind: 'already-exists',
      attempted: 'start the daemon on',
      on: file,
      why: `process ${holder.pid} holds it`,
      fix: 'stop that daemon, or give this one another --root and --state',
    });
  }
  await dropAbandonedWrites(file);
  await writeFileAtomic(file, JSON.stringify(processIdentity(process.pid)), { mode: 0o600, durable: false });
  return () => rm(file, { force: true });
}

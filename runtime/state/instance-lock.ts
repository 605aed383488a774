import { readFile, rm } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { meansGone, processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';

/**
 * Claims a folder for this process, until the returned function is called. A claim of a process that is gone counts for nothing.
 * @throws PortcullisError RUNTIME_ROOT_IN_USE; also when it cannot be found out whether the process of a claim lives
 */
export async function claimFolder(file: string): Promise<() => Promise<void>> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    if (meansGone(cause)) return '';
    throw cause;
  });
  const holder = holderIn(text);
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

/** Not synced when written: a power cut may leave it empty. */
function holderIn(text: string): ProcessIdentity | undefined {
  try {
    return parseJson(text) as ProcessIdentity;
  } catch {
    return undefined;
  }
}

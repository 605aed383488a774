import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError } from '../base/errors/index.ts';

/**
 * The folders in which the daemon looks for a program that its configuration does not name, in this order.
 */
export const programFolders = ['/usr/bin', '/usr/libexec/podman', '/usr/local/bin', '/usr/sbin'] as const;

/** Returns the path of a program that the daemon requires. @throws PortcullisError RUNTIME_MONITOR_MISSING */
export async function findProgram(name: string): Promise<string> {
  for (const folder of programFolders) {
    const path = join(folder, name);
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  throw new PortcullisError({
    code: 'RUNTIME_MONITOR_MISSING',
    kind: 'precondition',
    attempted: 'find',
    on: name,
    why: 'it was not found in the usual folders',
    fix: 'install it (`portcullis doctor --fix`)',
  });
}

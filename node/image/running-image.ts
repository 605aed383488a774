import { PortcullisError, fileReason, orThrow } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { slotOfCommandLine } from './boot-entry.ts';
import type { RunningImage } from './install-update.ts';

/** In the root file system of an image: its name and version. */
export const identityFile = '/etc/portcullis/node-image.json';

/**
 * Returns the image that this machine runs: its slot, by the command line of the kernel, and its name and
 * version, by a file in the root, which dm-verity protects.
 * @throws PortcullisError `NODE_IMAGE_NONE` if the machine runs no node image
 */
export async function runningImage(
  commandLineFile = '/proc/cmdline',
  file = identityFile,
): Promise<RunningImage> {
  const slot = slotOfCommandLine((await readPlainFile(commandLineFile, 64 * 1024)).toString('utf8'));
  if (slot === undefined) throw none('its kernel was not started from a slot');
  const identity: unknown = await orThrow(
    async () => parseJson((await readPlainFile(file, 4096)).toString('utf8')),
    (thrown) => none(`${file} cannot be read: ${fileReason(thrown, file)}`),
  );
  const { name, version } = (identity ?? {}) as { readonly name?: unknown; readonly version?: unknown };
  if (typeof name !== 'string' || typeof version !== 'number') throw none(`${file} has no name and version`);
  return { slot, name, version };
}

function none(why: string): PortcullisError {
  return new PortcullisError({
    code: 'NODE_IMAGE_NONE',
    kind: 'precondition',
    attempted: 'find the node image of this machine',
    on: '',
    why,
    fix: 'use this command on a machine that booted a node image (docs/node-image.md)',
  });
}

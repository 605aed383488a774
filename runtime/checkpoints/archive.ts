import { constants, existsSync } from 'node:fs';
import { open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { meansNoSuchPath } from '../../base/errors/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { runScript } from './capture.ts';
import type { Limit } from './capture.ts';
import type { Destination } from './destination.ts';
import { checkpointFailed } from './errors.ts';
import { reportFile } from './rights-report.ts';

/** The members of an archive, in their order. Only the first three are always present. */
export const members = [
  'config.dump',
  'spec.dump',
  'checkpoint',
  'rootfs-diff.tar',
  'deleted.files',
  'container.log',
  reportFile,
  'stats-dump',
  'dump.log',
] as const;

const logBytes = 16 * 1024 * 1024;

/**
 * `$0` is the folder (which identifies the process), `$1` the maximum number of 512-byte blocks, and all
 * other arguments are the members. tar does not replace the shell, so that it is found and ended as a program
 * of a script.
 */
const packScript = String.raw`
blocks=$1; shift; ulimit -f "$blocks"
tar --create --file - --numeric-owner --owner 0 --group 0 --sparse -- "$@" || exit 1
`;

/**
 * Writes the members in a folder into the archive, and gives it its name when it is complete.
 * @param limited returns the error for an archive that exceeds a limit
 * @throws PortcullisError RUNTIME_CHECKPOINT_FAILED, RUNTIME_CHECKPOINT_EXISTS, or the error of `limited`
 */
export async function writeArchive(
  input: {
    readonly startProgram: StartProgram;
    readonly folder: string;
    readonly destination: Destination;
    readonly archive: FileHandle;
    /** The maximum number of 512-byte blocks of the archive. */
    readonly blocks: string;
    readonly limit: Limit;
  },
  limited: (why: string) => Error,
): Promise<void> {
  const { startProgram, folder, destination, archive, blocks, limit } = input;
  // A container with many files makes the log of criu long: it is not read into memory.
  for (const name of ['stats-dump', 'dump.log'])
    await rename(join(folder, 'work', name), join(folder, name)).catch(unlessMissing(name));
  const present = members.filter((name) => existsSync(join(folder, name)));
  const args = [blocks, ...present];
  const ran = await runScript({
    ...{ startProgram, script: packScript, folder, args },
    ...{ output: archive.fd, limit },
  });
  if (ran.ended !== undefined) throw limited(ran.ended);
  if (ran.exitCode !== 0)
    throw checkpointFailed(
      'RUNTIME_CHECKPOINT_FAILED',
      'exhausted',
      { file: destination.partial },
      `the archive could not be written (tar: exit code ${ran.exitCode})`,
      'check whether the archive is larger than `checkpoint.maxSize`, and whether the disk has free space',
    );
  await destination.publish(archive);
}

/** Returns a handler for a file that criu writes at the end of each checkpoint. */
function unlessMissing(name: string): (thrown: unknown) => never {
  return (thrown) => {
    if (!meansNoSuchPath(thrown)) throw thrown;
    throw checkpointFailed(
      'RUNTIME_CHECKPOINT_FAILED',
      'internal',
      { file: name },
      'runc reported success, but criu did not write this file',
      'check runc and criu, for example with `criu check`',
    );
  };
}

/** The folder where the deleted files of a container are listed, and the limits of the list. */
export interface DeletedFiles {
  readonly folder: string;
  readonly limit: Limit;
  /** Returns the error for a list that exceeds a limit. */
  readonly limited: (why: string) => Error;
}

/** More than 100,000 long paths. */
const mostNameBytes = 16 * 1024 * 1024;
/** How many files are examined between two checks of the limits. */
const namesBetween = 1_000;

/**
 * Writes `deleted.files`: the files of the image that the container has deleted, which the overlay shows as
 * devices 0:0 (kernel, Documentation/filesystems/overlayfs.rst). The script read the device numbers while the
 * container was frozen. If no file was deleted, no list is written.
 * @throws the error of `limited`
 */
export async function writeDeletedFiles({ folder, limit, limited }: DeletedFiles): Promise<void> {
  const list = join(folder, 'devices');
  const bytes = await stat(list).then(
    ({ size }) => size,
    () => 0,
  );
  if (bytes > mostNameBytes)
    throw limited(`the list of its deleted files is larger than ${mostNameBytes} bytes`);
  const names = (await readFile(list, 'utf8').catch(() => '')).split('\0');
  const deleted: string[] = [];
  for (const [index, entry] of names.entries()) {
    const why = index % namesBetween === 0 ? await limit() : undefined;
    if (why !== undefined) throw limited(why);
    if (entry.startsWith('0:0 ')) deleted.push(entry.slice('0:0 '.length).replace(/^\.\//, ''));
  }
  if (deleted.length > 0)
    await writeFile(join(folder, 'deleted.files'), JSON.stringify(deleted), { mode: 0o600 });
}

/** Keeps the end of the log of a container, at most 16 MiB, as `container.log`. */
export async function writeLog(folder: string, logPath: string): Promise<void> {
  const log = await open(logPath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  if (log === undefined) return;
  try {
    const found = await log.stat();
    if (!found.isFile()) return;
    const length = Math.min(found.size, logBytes);
    const { buffer, bytesRead } = await log.read(Buffer.alloc(length), 0, length, found.size - length);
    await writeFile(join(folder, 'container.log'), buffer.subarray(0, bytesRead), { mode: 0o600 });
  } finally {
    await log.close();
  }
}

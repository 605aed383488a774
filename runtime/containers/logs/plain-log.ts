import { readdirSync, readlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { PortcullisError, meansGone, tolerate } from '../../../base/errors/index.ts';
import { hasNoAnswer, isOf } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { ContainerRecord } from '../record.ts';
import { namesOfLog } from './log-path.ts';

/*
 * A pod that may write to the folder of logs, such as a collector of logs, can put a link or a FIFO where the
 * log of a container will be, or a link where the folder of this log will be. conmon 2.1 follows the link as
 * root, so that the container could write to any file of the host, and it waits at the FIFO for a reader.
 */

/** A container, with the path of its log. */
type Logged = Pick<ContainerRecord, 'config' | 'logPath'>;

/**
 * Checks that no folder between the log folder of the pod and the log is a link. The log folder itself, and
 * the folders above it, belong to the node, and may be links.
 * @returns the real path of the folder of the log; undefined if there is none
 * @throws PortcullisError RUNTIME_LOG_NOT_PLAIN, and RUNTIME_PATH_NO_ANSWER
 */
export async function requireLogFolder(
  paths: Pick<HostPaths, 'facts'>,
  { config, logPath }: Logged,
): Promise<string | undefined> {
  const below = namesOfLog(config.logPath).slice(0, -1);
  const folder = dirname(logPath);
  const real = await realPath(paths, folder);
  if (real === undefined || below.length === 0) return real;
  const top = await realPath(paths, folder.slice(0, -`/${below.join('/')}`.length) || '/');
  if (top === undefined || real !== join(top, ...below))
    throw notPlain(logPath, 'a link is in place of a folder of this path');
  return real;
}

/**
 * Returns the path of a log with the real path of its folder, as operations of host paths need it that must
 * not follow a link which a pod puts in place of a folder meanwhile.
 * @throws PortcullisError as {@link requireLogFolder}
 */
export async function realLogPath(paths: Pick<HostPaths, 'facts'>, log: Logged): Promise<string> {
  const folder = await requireLogFolder(paths, log);
  return join(folder ?? dirname(log.logPath), basename(log.logPath));
}

function realPath(paths: Pick<HostPaths, 'facts'>, folder: string): Promise<string | undefined> {
  return paths.facts(folder).then(
    ({ path }) => path,
    (thrown: unknown) => {
      if (hasNoAnswer(thrown)) throw thrown;
      return undefined;
    },
  );
}

/**
 * Checks that nothing but a plain file is at the path of a log. Nothing there: success; the monitor creates
 * it or reports the failure.
 * @throws PortcullisError RUNTIME_LOG_NOT_PLAIN, and RUNTIME_PATH_NO_ANSWER
 */
export async function requirePlainLog(paths: Pick<HostPaths, 'ownFacts'>, logPath: string): Promise<void> {
  const facts = await paths.ownFacts(logPath).catch((thrown: unknown) => {
    if (hasNoAnswer(thrown)) throw thrown;
    return undefined;
  });
  if (facts === undefined || isOf(facts, 'file')) return;
  throw notPlain(logPath, `${isOf(facts, 'link') ? 'a link' : 'something else than a plain file'} is there`);
}

/**
 * Checks that a monitor has opened the log itself, and not a file to which a link led that was there for a
 * moment. Reads only names of the kernel, because the other file may be on a file system that does not
 * answer.
 * @param monitor the pid of conmon
 * @throws PortcullisError RUNTIME_LOG_NOT_PLAIN, and RUNTIME_PATH_NO_ANSWER
 */
export async function requireOpenLog(
  paths: Pick<HostPaths, 'facts'>,
  record: Logged,
  monitor: number,
): Promise<void> {
  const { logPath } = record;
  const opened = openedNames(monitor);
  if (opened === undefined) return;
  const folder = await requireLogFolder(paths, record);
  if (folder !== undefined && opened.has(join(folder, basename(logPath)))) return;
  // A process that ends has closed its files before it is gone, and writes to none of them.
  if ((openedNames(monitor)?.size ?? 0) === 0) return;
  throw notPlain(logPath, 'its monitor opened another file, so a link was there for a moment');
}

/** Returns the paths that a process has open; undefined if the process has ended. */
function openedNames(pid: number): ReadonlySet<string> | undefined {
  const names = new Set<string>();
  try {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      // The process has closed it meanwhile.
      tolerate(meansGone, () => names.add(readlinkSync(`/proc/${pid}/fd/${fd}`)));
    }
  } catch (cause) {
    if (meansGone(cause)) return undefined;
    throw cause;
  }
  return names;
}

function notPlain(logPath: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_LOG_NOT_PLAIN',
    kind: 'precondition',
    attempted: 'open the log of a container',
    on: JSON.stringify(logPath),
    why,
    fix: 'remove it, find out which pod or program of the node writes to the folder of logs, and repeat the request',
  });
}

import { constants } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  attempt,
  errnoIs,
  errnoOf,
  meansNoSuchPath,
  PortcullisError,
  reasonOf,
} from '../../../base/errors/index.ts';
import { sameProcess } from '../../../base/process/index.ts';
import { hasNoAnswer } from '../../host-paths/host-paths.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { containerNotFound } from '../errors.ts';
import { logMode } from './log-mode.ts';
import { freeName } from './log-rotation.ts';
import { realLogPath, requireOpenLog } from './plain-log.ts';
import type { ContainerRecord } from '../record.ts';

/**
 * conmon writes to a file of this name, and renames it to the name of the log: conmon 2.1, src/ctr_logging.c.
 */
const newLogSuffix = '.tmp';

type LogPaths = Pick<
  HostPaths,
  | 'facts'
  | 'makeReplaceable'
  | 'moveFile'
  | 'names'
  | 'openedBy'
  | 'ownFacts'
  | 'removeEmptyLog'
  | 'renameBeside'
  | 'setFileMode'
>;

/**
 * Makes the monitor of a container write to a new file under the name of the log. A monitor that already
 * writes there continues: conmon 2.1 would replace that file by an empty one, and its lines would be lost.
 * conmon reads one line at a time from its control FIFO, and answers by a new file. A conmon that cannot
 * create that file ends, and the exit code of its container is lost; therefore the file is created before
 * conmon is asked.
 * @throws PortcullisError RUNTIME_LOG_NOT_REOPENED | RUNTIME_LOG_NOT_PLAIN
 */
export async function reopenLog(record: ContainerRecord, bundle: string, paths: LogPaths): Promise<void> {
  if (record.logPath === '') return;
  // From here on, a link that is put in place of a folder of this path is not followed.
  const logPath = await realLogPath(paths, record);
  const { monitorLog } = record;
  if (monitorLog === undefined) return reopenOwnLog({ ...record, logPath }, bundle, paths);
  // The folder of the daemon may be below a link of the node.
  const { path: own } = await paths.facts(dirname(monitorLog));
  const moved = { ...record, logPath, monitorLog: join(own, basename(monitorLog)) };
  return reopenMovedLog(moved, bundle, paths);
}

/** Reopens the log of a container whose monitor opens it by the path of the log. */
async function reopenOwnLog(record: ContainerRecord, bundle: string, paths: LogPaths): Promise<void> {
  const newLog = `${record.logPath}${newLogSuffix}`;
  const existing = await paths.openedBy(record.logPath, record.monitor?.pid ?? 0);
  // An earlier attempt may have ended before it set the mode.
  if (existing.isOpen) return paths.setFileMode(record.logPath, logMode);
  await paths.makeReplaceable(record.logPath, newLog, logMode).catch((cause: unknown) => {
    throw hasNoAnswer(cause) ? cause : notWritable(record, cause);
  });
  const before = await paths.openedBy(record.logPath, 0);
  /** No process writes to the new file any more. A log that was renamed gets its name back. */
  const takeBack = async (): Promise<void> => {
    await paths.removeEmptyLog(newLog, undefined);
    if (existing.file === undefined) await paths.removeEmptyLog(record.logPath, undefined);
  };
  const isReady = async (): Promise<boolean> => {
    const { file } = await paths.openedBy(record.logPath, 0);
    return file !== undefined && file !== before.file;
  };
  await askMonitor(record, bundle, { isReady, takeBack });
  await requireOpenLog(paths, record, record.monitor?.pid ?? 0);
  return paths.setFileMode(record.logPath, logMode);
}

/**
 * Reopens the log of a container whose monitor was prepared. The monitor opens its log at a path of the
 * daemon, and the daemon moves the new file to the path of the container's log. Therefore the monitor follows
 * no path that a pod with access to the folder of logs could change.
 */
async function reopenMovedLog(
  record: ContainerRecord & { readonly monitorLog: string },
  bundle: string,
  paths: LogPaths,
): Promise<void> {
  const { logPath, monitorLog } = record;
  const monitor = record.monitor?.pid ?? 0;
  if ((await paths.openedBy(logPath, monitor)).isOpen) return paths.setFileMode(logPath, logMode);
  // Only the monitor makes this file, even if it has ended since.
  const isReady = async (): Promise<boolean> => (await paths.openedBy(monitorLog, 0)).file !== undefined;
  const notMovable = (cause: unknown): never => {
    throw hasNoAnswer(cause) ? cause : notWritable(record, cause);
  };
  const finish = async (): Promise<void> => {
    await paths.moveFile(monitorLog, logPath).catch(notMovable);
    await requireOpenLog(paths, record, monitor);
  };
  // An earlier attempt may have ended before it moved the file.
  if (await isReady()) {
    // Its caller may have given the log its name back since.
    const isFree = await paths.ownFacts(logPath).then(({ size }) => size === 0, meansNoSuchPath);
    if (!isFree) await paths.renameBeside(logPath, await freeName(logPath, new Date(), paths));
    return finish();
  }
  const newLog = `${monitorLog}${newLogSuffix}`;
  const takeBack = (): Promise<void> => paths.removeEmptyLog(newLog, undefined);
  await makeMovable(record, newLog, paths).catch(async (cause: unknown) => {
    await takeBack();
    return notMovable(cause);
  });
  await askMonitor(record, bundle, { isReady, takeBack });
  return finish();
}

/**
 * Prepares for a monitor that opens its log in a folder of the daemon, and tries whether a file can be moved
 * from there to the path of the log. If the move failed afterwards, the container would write its lines where
 * nobody reads them.
 */
async function makeMovable(
  { logPath, monitorLog }: { readonly logPath: string; readonly monitorLog: string },
  newLog: string,
  paths: LogPaths,
): Promise<void> {
  const trial = `${logPath}${newLogSuffix}`;
  await paths.makeReplaceable(monitorLog, newLog, logMode);
  await paths.moveFile(newLog, trial);
  // Makes room for the name of the log, which may be missing.
  await paths.makeReplaceable(logPath, trial, logMode);
  await paths.removeEmptyLog(trial, undefined);
  await paths.makeReplaceable(monitorLog, newLog, logMode);
}

/** How often the new file is looked for, 5 ms apart, until the request is taken back. */
const patience = 200;

/**
 * Asks the monitor to open its log again, and waits until it has. A monitor that is stopped, or waits for a
 * processor, would open a new file later: a log that has got its name back by then would be lost. So a
 * request that it has not read is taken back.
 * @param parts.takeBack removes the prepared files, which no process writes to
 * @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND, RUNTIME_LOG_NOT_REOPENED
 */
async function askMonitor(
  record: ContainerRecord,
  bundle: string,
  parts: { readonly isReady: () => Promise<boolean>; readonly takeBack: () => Promise<void> },
): Promise<void> {
  const { isReady, takeBack } = parts;
  await sendRequest(record, bundle, takeBack);
  for (let attempt = 0; attempt < 2 * patience; attempt += 1) {
    // In this order, because the monitor may have created the file before it ended.
    const ended = hasEnded(record);
    if (await isReady()) return;
    if (ended) {
      await takeBack();
      throw monitorEnded(record);
    }
    if (attempt === patience && (await withdrawRequest(bundle))) {
      await takeBack();
      throw noNewFile(record);
    }
    await pause(5);
  }
  throw noNewFile(record);
}

/** Removes the request from the control FIFO. @returns false: the monitor has read it */
async function withdrawRequest(bundle: string): Promise<boolean> {
  try {
    await using ctl = await open(join(bundle, 'ctl'), constants.O_RDONLY | constants.O_NONBLOCK);
    return (await ctl.read(Buffer.alloc(fifoBytes))).bytesRead > 0;
  } catch (cause) {
    // The container has been removed, or nothing is in the FIFO.
    if (errnoIs('ENOENT', 'EAGAIN')(cause)) return false;
    throw cause;
  }
}

const fifoBytes = 64 * 1024;

/** @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND, RUNTIME_LOG_NOT_REOPENED */
async function sendRequest(
  record: ContainerRecord,
  bundle: string,
  takeBack: () => Promise<void>,
): Promise<void> {
  try {
    // A FIFO that is full must not block a thread.
    await writeFile(join(bundle, 'ctl'), '2 0 0\n', { flag: constants.O_RDWR | constants.O_NONBLOCK });
  } catch (cause) {
    await takeBack();
    // Many requests wait in the FIFO: the monitor reads none.
    if (errnoIs('EAGAIN')(cause)) throw noNewFile(record);
    // The container has been removed, and its monitor ended before that.
    if (errnoIs('ENOENT')(cause)) throw containerNotFound(record.id);
    throw cause;
  }
}

function noNewFile(record: ContainerRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_LOG_NOT_REOPENED',
    kind: 'internal',
    attempted: 'reopen the log of container',
    on: record.id.slice(0, 13),
    why: 'its monitor created no new file in time',
    fix: 'check whether the monitor (conmon) is stopped or waits for a disk or a processor, and repeat the request',
  });
}

function hasEnded({ monitor }: ContainerRecord): boolean {
  // The check may fail for now, for example for lack of free descriptors.
  return attempt(() => monitor === undefined || !sameProcess(monitor)) ?? false;
}

function monitorEnded(record: ContainerRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_LOG_NOT_REOPENED',
    kind: 'precondition',
    attempted: 'reopen the log of container',
    on: record.id.slice(0, 13),
    why: 'its monitor has ended together with its container, so no more lines are written',
    fix: 'read the existing log; only a running container gets a new one',
  });
}

function notWritable(record: ContainerRecord, cause: unknown): PortcullisError {
  const errno = errnoOf(cause);
  return new PortcullisError({
    code: 'RUNTIME_LOG_NOT_REOPENED',
    kind: errno === 'ENOSPC' || errno === 'EDQUOT' ? 'exhausted' : 'precondition',
    attempted: 'reopen the log of container',
    on: record.id.slice(0, 13),
    why: `no new file can be created beside it, so its monitor continues with the old one: ${reasonOf(cause)}`,
    fix: 'free space for files in the folder of the log, or recreate that folder, and repeat the request',
    cause,
  });
}

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { meansNoSuchPath } from '../../../base/errors/index.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { settleActs } from '../../state/settle.ts';
import type { Unsettled } from '../../state/settle.ts';
import type { ContainerRecord } from '../record.ts';
import { freeName } from './log-rotation.ts';
import { realLogPath } from './plain-log.ts';

type LogPaths = Pick<HostPaths, 'facts' | 'moveFile' | 'names' | 'ownFacts' | 'renameBeside'>;
type ReopenedLog = Pick<ContainerRecord, 'config' | 'logPath' | 'monitorLog'>;

/**
 * Finishes the reopening of logs that an earlier run began: its monitor has created the new file in the
 * folder of the daemon, and the file was not moved yet. The container may have ended since, so that nobody
 * asks again. A kubelet whose request failed has given the rotated file its name back: it is rotated again.
 * @param folder where monitors that were prepared open their logs
 * @returns the logs that could not be moved, and why
 */
export async function finishReopens(
  folder: string,
  containers: readonly ReopenedLog[],
  paths: LogPaths,
): Promise<readonly Unsettled[]> {
  const waiting = new Set((await readdir(folder)).map((name) => join(folder, name)));
  const finish = async (monitorLog: string, container: ReopenedLog): Promise<void> => {
    const logPath = await realLogPath(paths, container);
    const isFree = await paths.ownFacts(logPath).then(() => false, meansNoSuchPath);
    if (!isFree) await paths.renameBeside(logPath, await freeName(logPath, new Date(), paths));
    await paths.moveFile(monitorLog, logPath);
  };
  return settleActs(
    containers.flatMap((container) => {
      const { monitorLog, logPath } = container;
      return monitorLog === undefined || !waiting.has(monitorLog)
        ? []
        : [{ on: logPath, act: () => finish(monitorLog, container) }];
    }),
  );
}

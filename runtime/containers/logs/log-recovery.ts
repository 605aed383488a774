import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { meansNoSuchPath } from '../../../base/errors/index.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { settleActs } from '../../state/settle.ts';
import type { Unsettled } from '../../state/settle.ts';
import type { ContainerRecord } from '../record.ts';
import { freeName } from './log-rotation.ts';

type LogPaths = Pick<HostPaths, 'moveFile' | 'names' | 'ownFacts' | 'rename'>;

/**
 * Finishes the reopening of logs that an earlier run began: its monitor has created the new file in the
 * folder of the daemon, and the file was not moved yet. The container may have ended since, so that nobody
 * asks again. A kubelet whose request failed has given the rotated file its name back: it is rotated again.
 * @param folder where monitors that were prepared open their logs
 * @returns the logs that could not be moved, and why
 */
export async function finishReopens(
  folder: string,
  containers: readonly Pick<ContainerRecord, 'logPath' | 'monitorLog'>[],
  paths: LogPaths,
): Promise<readonly Unsettled[]> {
  const waiting = new Set((await readdir(folder)).map((name) => join(folder, name)));
  const finish = async (monitorLog: string, logPath: string): Promise<void> => {
    const isFree = await paths.ownFacts(logPath).then(() => false, meansNoSuchPath);
    if (!isFree) await paths.rename(logPath, await freeName(logPath, new Date(), paths));
    await paths.moveFile(monitorLog, logPath);
  };
  return settleActs(
    containers.flatMap(({ monitorLog, logPath }) =>
      monitorLog === undefined || !waiting.has(monitorLog)
        ? []
        : [{ on: logPath, act: () => finish(monitorLog, logPath) }],
    ),
  );
}

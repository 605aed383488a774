import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PortcullisError } from '../../base/errors/index.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { logMode } from './log-mode.ts';
import type { ContainerRecord } from './record.ts';

/**
 * Lets a container's monitor write to a new file under the log's name. One that writes there already goes on: conmon 2.1 would replace that
 * file by an empty one, and its lines would be lost. It reads one line at a time from its control FIFO, and answers by a new file.
 * @throws PortcullisError RUNTIME_LOG_NOT_REOPENED
 */
export async function reopenLog(
  record: ContainerRecord,
  bundle: string,
  paths: Pick<HostPaths, 'openedBy' | 'setFileMode'>,
): Promise<void> {
  if (record.logPath === '') return;
  const before = await paths.openedBy(record.logPath, record.monitor?.pid ?? 0);
  // An earlier attempt may have ended before it set the mode.
  if (before.isOpen) return paths.setFileMode(record.logPath, logMode);
  await writeFile(join(bundle, 'ctl'), '2 0 0\n', { flag: 'r+' });
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const { file } = await paths.openedBy(record.logPath, 0);
    if (file !== undefined && file !== before.file) return paths.setFileMode(record.logPath, logMode);
    await pause(5);
  }
  throw new PortcullisError({
    code: 'RUNTIME_LOG_NOT_REOPENED',
    kind: 'internal',
    attempted: 'reopen the log of container',
    on: record.id.slice(0, 13),
    why: 'its monitor made no new file within 1 s',
    fix: 'see whether the monitor lives (portcullis ps) and the disk has room',
  });
}

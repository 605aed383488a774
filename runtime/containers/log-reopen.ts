import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PortcullisError } from '../../base/errors/index.ts';
import type { ContainerRecord } from './record.ts';

/**
 * Lets a container's monitor write to a new file under the log's name. One that writes there already goes on: conmon 2.1 would replace that
 * file by an empty one, and its lines would be lost. It reads one line at a time from its control FIFO, and answers by a new file.
 * @throws PortcullisError RUNTIME_LOG_NOT_REOPENED
 */
export async function reopenLog(record: ContainerRecord, bundle: string): Promise<void> {
  if (record.logPath === '') return;
  const before = await fileAt(record.logPath);
  if (before !== undefined && (await isOpenIn(record.monitor?.pid ?? 0, before))) return;
  await writeFile(join(bundle, 'ctl'), '2 0 0\n', { flag: 'r+' });
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const after = await fileAt(record.logPath);
    if (after !== undefined && after !== before) return;
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

/** Device and inode of what stands at a path, or of what a link of /proc leads to; undefined when nothing does. */
async function fileAt(path: string): Promise<string | undefined> {
  return stat(path, { bigint: true }).then(
    (facts) => `${facts.dev}:${facts.ino}`,
    () => undefined,
  );
}

async function isOpenIn(pid: number, file: string): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  const open = await Promise.all(names.map((name) => fileAt(join(folder, name))));
  return open.includes(file);
}

import { basename, dirname, join } from 'node:path';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { bytesOf } from '../../config/bytes.ts';
import type { ContainerRecord } from '../record.ts';
import { realLogPath } from './plain-log.ts';

type LogPaths = Pick<HostPaths, 'facts' | 'names' | 'renameBeside' | 'removeFile'>;

export interface LogRotation {
  /** Checks every log once; the timer does the same. */
  sweep(): Promise<void>;
  close(): void;
}

/** The interval of a kubelet (containerLogMonitorInterval). */
const everyMs = 10_000;

/**
 * Rotates logs as a kubelet does: renames the file to a name with the time, and the monitor starts a new
 * file. Until then, the monitor continues to write into the renamed file, so no line is lost or torn. A crash
 * in between leaves a log without a file under its name, which the next check repairs.
 * @param parts.maxSize a log beyond this size is rotated: a size such as `10Mi`; `0` rotates nothing
 * @param parts.maxFiles how many files of one log are kept, the current one included; at least 2
 */
export function createLogRotation(parts: {
  readonly maxSize: string;
  readonly maxFiles: number;
  readonly containers: () => readonly ContainerRecord[];
  readonly reopen: (id: string) => Promise<void>;
  readonly log: Logger;
  readonly paths: LogPaths;
}): LogRotation {
  const maxBytes = bytesOf(parts.maxSize) ?? 0;
  const { paths } = parts;
  let running: Promise<void> | undefined;
  const lookAt = async (record: ContainerRecord): Promise<void> => {
    // A pod that may write to the folder of logs can put a link in place of a folder. The files where the
    // link leads are not those of this log.
    const log = await realLogPath(paths, record);
    const size = await sizeOf(log, paths);
    if (size === undefined) return parts.reopen(record.id);
    if (size <= maxBytes) return;
    const aside = await freeName(log, new Date(), paths);
    await paths.renameBeside(log, aside);
    try {
      await parts.reopen(record.id);
    } catch (cause) {
      // The monitor still writes to the renamed file: the file gets its name back, unless a new file has that
      // name.
      if ((await sizeOf(log, paths)) === undefined)
        await paths.renameBeside(join(dirname(log), aside), basename(log));
      throw cause;
    }
    await dropOldest(log, parts.maxFiles - 1, paths);
  };
  const sweep = async (): Promise<void> => {
    for (const record of parts.containers()) {
      if (record.phase !== 'running' || record.logPath === '') continue;
      await lookAt(record).catch((cause: unknown) =>
        parts.log.warn(
          { container: record.id, log: record.logPath, cause: reasonOf(cause) },
          'a log could not be rotated',
        ),
      );
    }
  };
  const once = (): Promise<void> => (running ??= sweep().finally(() => (running = undefined)));
  const timer = maxBytes === 0 ? undefined : setInterval(() => void once(), everyMs).unref();
  return { sweep: once, close: () => clearInterval(timer) };
}

/**
 * Suffix of rotated files: `0.log.20261120-115500`, and `-1` and so on for more files in one second, or since
 * the clock was set back. The names sort by age.
 */
const asideForm = /^\.(\d{8}-\d{6})(?:-(\d{1,100}))?$/u;

/** Returns a name that sorts after every rotated file. */
export async function freeName(logPath: string, now: Date, paths: Pick<HostPaths, 'names'>): Promise<string> {
  const name = basename(logPath);
  const stamp = now
    .toISOString()
    .replaceAll(/[-:]|\..*/g, '')
    .replace('T', '-');
  const newest = (await setAside(logPath, paths)).at(-1);
  const [, last = '', number = '0'] = asideForm.exec(newest?.slice(name.length) ?? '') ?? [];
  return last < stamp ? `${name}.${stamp}` : `${name}.${last}-${BigInt(number) + 1n}`;
}

async function dropOldest(logPath: string, keep: number, paths: LogPaths): Promise<void> {
  const names = await setAside(logPath, paths);
  for (const old of names.slice(0, Math.max(0, names.length - keep)))
    await paths.removeFile(join(dirname(logPath), old));
}

/** Returns the names of the rotated files, oldest first. */
async function setAside(logPath: string, paths: Pick<HostPaths, 'names'>): Promise<string[]> {
  const name = basename(logPath);
  const found = (await paths.names(dirname(logPath))).filter(
    (entry) => entry.startsWith(name) && asideForm.test(entry.slice(name.length)),
  );
  return found.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
}

async function sizeOf(path: string, paths: LogPaths): Promise<number | undefined> {
  return paths.facts(path).then(
    (facts) => facts.size,
    (thrown: unknown) => {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw thrown;
    },
  );
}

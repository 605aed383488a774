import { watch } from 'node:fs';
import type { BigIntStats, FSWatcher } from 'node:fs';
import { mkdir, readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt, meansNoSuchPath, PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { pidfdInfo } from '../../base/kernel/index.ts';
import { sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import { firstExitFile } from './conmon.ts';
import { watchEnd } from '../processes/processes.ts';

export interface Exit {
  readonly code: number;
  /** Nanoseconds since 1970, decimal. */
  readonly finishedAt: string;
  /** False when the monitor died or does not respond: the code came from elsewhere, or is unknown (255). */
  readonly fromMonitor: boolean;
}

export interface ExitWatch {
  /** Where monitors write exits: one file per container, named by its id. */
  readonly folder: string;
  /**
   * Reports the exit once, even if it happened before. The returned function stops the watch.
   * @param monitorLost called once when the monitor ends, or has ended, while the first process lives: the
   * container's output is lost from then on
   */
  watchContainer(
    id: string,
    processes: { readonly init: ProcessIdentity; readonly monitor: ProcessIdentity },
    report: (exit: Exit) => void,
    monitorLost: () => void,
  ): () => void;
  /**
   * Returns the exit that the monitor left on disk, if any. Throws when it cannot be read, for example
   * without free descriptors.
   */
  recorded(id: string): Promise<Exit | undefined>;
  /** Removes the file. Call this only after the exit is in the durable record. */
  forget(id: string): Promise<void>;
  close(): void;
}

/**
 * How long the monitor may take, after the end of the first process, to drain its output and write the code.
 */
const monitorGraceMs = 5_000;

/** How long an ended process may stay unreaped if its parent is process 1, which may not be an init. */
const reaperGraceMs = 10_000;

/**
 * Watches a folder of exit files (written by conmon: temporary file and rename) and the processes themselves,
 * by pidfd, so that the death of a monitor is noticed too.
 */
export async function openExitWatch(input: {
  readonly folder: string;
  /**
   * The folder in which the monitor writes the exit first. That file counts if `folder` has none, for example
   * on a full disk.
   */
  readonly bundle: (id: string) => string;
  readonly reactor: Reactor;
}): Promise<ExitWatch> {
  const { folder, bundle, reactor } = input;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const waiting = new Map<string, () => void>();
  const watcher = watched(folder, (name) => waiting.get(name)?.());
  const recorded = async (id: string): Promise<Exit | undefined> =>
    (await exitIn(join(folder, id))) ?? exitIn(join(bundle(id), firstExitFile));
  return {
    folder,
    recorded,
    watchContainer: (id, processes, report, monitorLost) => {
      let over = false;
      const isOver = (): boolean => over;
      let release: () => void = () => undefined;
      const finish = (): void => {
        over = true;
        waiting.delete(id);
        release();
      };
      const conclude = (exit: Exit): void => {
        if (isOver()) return;
        finish();
        report(exit);
      };
      const look = async (): Promise<boolean> => {
        const exit = await recorded(id);
        if (exit !== undefined) conclude(exit);
        return exit !== undefined;
      };
      // An exit that cannot be read now is read after the end of the first process, however long that takes.
      const lookOnce = (): void => void look().catch(() => undefined);
      waiting.set(id, lookOnce);
      /** Reports whether the exit was reported: the file exists, or no caller waits any more. */
      const isReported = async (): Promise<boolean> => {
        const deadline = performance.now() + monitorGraceMs;
        while (!isOver()) {
          try {
            // The order matters: writing the file is the monitor's last action.
            const isLast = !sameProcess(processes.monitor) || performance.now() > deadline;
            if (await look()) return true;
            if (isLast) return isOver();
          } catch {
            // Neither the file nor the monitor could be inspected, which says nothing about either.
          }
          await pause(50);
        }
        return true;
      };
      const afterInit = async (pidfd: number | undefined): Promise<void> => {
        if (await isReported()) return;
        // The kernel provides the code once the process has been reaped: an init does so within moments,
        // process 1 of a container when it checks.
        const deadline = performance.now() + reaperGraceMs;
        let known = exitCodeOf(pidfd);
        while (known === 'not yet' && performance.now() < deadline) {
          await pause(25);
          // The descriptor is closed with the watch.
          if (isOver()) return;
          known = exitCodeOf(pidfd);
        }
        conclude({
          code: typeof known === 'number' ? known : 255,
          finishedAt: (BigInt(Date.now()) * 1_000_000n).toString(),
          fromMonitor: false,
        });
      };
      const afterMonitor = async (): Promise<void> => {
        while (!isOver()) {
          try {
            // Normally a monitor ends after the first process: its exit is about to be reported.
            if (sameProcess(processes.init) && !(await look()) && !isOver()) monitorLost();
            return;
          } catch {
            await pause(50);
          }
        }
      };
      const stops = [
        watchEnd(reactor, processes.init, (pidfd) => void afterInit(pidfd)),
        watchEnd(reactor, processes.monitor, () => void afterMonitor()),
      ];
      // Not within a callback of the reactor.
      release = () => setImmediate(() => stops.forEach((stop) => stop()));
      lookOnce();
      return finish;
    },
    forget: async (id) => {
      // A monitor that was killed while writing leaves a file with the name that glib creates for
      // g_file_set_contents: the exit's name and six letters.
      const isOfId = (name: string): boolean => name === id || name.startsWith(`${id}.`);
      for (const name of (await readdir(folder)).filter(isOfId))
        await rm(join(folder, name), { recursive: true, force: true });
    },
    close: () => watcher?.close(),
  };
}

/** Reads an exit file. Returns undefined if there is none, or if it has no exit code. */
async function exitIn(file: string): Promise<Exit | undefined> {
  let text: string;
  let facts: BigIntStats;
  try {
    facts = await stat(file, { bigint: true });
    // A monitor writes a file. Another entry is no exit, and reading it might never end.
    if (!facts.isFile()) return undefined;
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (meansNoSuchPath(cause)) return undefined;
    throw unreadable(file, cause);
  }
  const code = Number(text.trim());
  return Number.isSafeInteger(code) && text.trim() !== ''
    ? { code, finishedAt: facts.mtimeNs.toString(), fromMonitor: true }
    : undefined;
}

/**
 * Reports the names of files that appear in a folder. Undefined where inotify has no instance left (EMFILE):
 * an exit is then noticed by the end of the processes alone.
 */
function watched(folder: string, appeared: (name: string) => void): FSWatcher | undefined {
  return attempt(() =>
    watch(folder, (_event, name) => {
      if (name !== null) appeared(name);
    }),
  );
}

/** Undefined: this kernel does not provide the code. */
function exitCodeOf(pidfd: number | undefined): number | 'not yet' | undefined {
  if (pidfd === undefined) return undefined;
  try {
    const info = pidfdInfo(pidfd);
    return info === undefined ? undefined : (info.exitCode ?? 'not yet');
  } catch {
    // Some kernels answer ESRCH for a process that was reaped. Its code is then unknown.
    return undefined;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

function unreadable(file: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EXIT_UNREADABLE',
    kind: 'unavailable',
    attempted: 'read the exit code of a container from',
    on: file,
    why: reasonOf(cause),
    fix: 'free descriptors or repair the disk, according to the reason; the code is then read again',
    cause,
  });
}

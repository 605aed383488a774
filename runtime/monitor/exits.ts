import { watch } from 'node:fs';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { closeFd, pidfdInfo } from '../../base/kernel/index.ts';
import { sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import { openProcess } from './processes.ts';

export interface Exit {
  readonly code: number;
  /** Nanoseconds since 1970, decimal. */
  readonly finishedAt: string;
  /** False when the monitor died and the code was learned elsewhere, or not at all (255). */
  readonly fromMonitor: boolean;
}

export interface ExitWatch {
  /** Tells the exit once, also one that happened before. The returned function stops the watch. */
  watchContainer(
    id: string,
    processes: { readonly init: ProcessIdentity; readonly monitor: ProcessIdentity },
    tell: (exit: Exit) => void,
  ): () => void;
  /** The exit that the monitor left on disk, if any. */
  recorded(id: string): Promise<Exit | undefined>;
  /** Drops the file: only after the exit is in the durable record. */
  forget(id: string): Promise<void>;
  close(): void;
}

/** After the first process is gone, how long its monitor may take to drain its output and write the code. */
const monitorGraceMs = 5_000;

/**
 * Watches a folder of exit files (written by conmon: temporary file and rename) and the processes themselves, by pidfd,
 * so that the death of a monitor is noticed too.
 */
export async function openExitWatch(input: { readonly folder: string; readonly reactor: Reactor }): Promise<ExitWatch> {
  const { folder, reactor } = input;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const waiting = new Map<string, () => void>();
  const watcher = watch(folder, (_event, name) => {
    if (name !== null) waiting.get(name)?.();
  });
  const recorded = async (id: string): Promise<Exit | undefined> => {
    const file = join(folder, id);
    try {
      const [text, facts] = await Promise.all([readFile(file, 'utf8'), stat(file, { bigint: true })]);
      const code = Number(text.trim());
      return Number.isSafeInteger(code) && text.trim() !== ''
        ? { code, finishedAt: facts.mtimeNs.toString(), fromMonitor: true }
        : undefined;
    } catch {
      return undefined;
    }
  };
  return {
    recorded,
    watchContainer: (id, processes, tell) => {
      let over = false;
      const isOver = (): boolean => over;
      const cleanups: (() => void)[] = [];
      const finish = (): void => {
        over = true;
        waiting.delete(id);
        for (const cleanup of cleanups) cleanup();
      };
      const conclude = (exit: Exit): void => {
        if (isOver()) return;
        finish();
        tell(exit);
      };
      const look = async (): Promise<boolean> => {
        const exit = await recorded(id);
        if (exit !== undefined) conclude(exit);
        return exit !== undefined;
      };
      waiting.set(id, () => void look());
      const pidfd = openProcess(processes.init);
      const afterInit = async (): Promise<void> => {
        const deadline = Date.now() + monitorGraceMs;
        while (!isOver() && !(await look()) && sameProcess(processes.monitor) && Date.now() < deadline)
          await new Promise((resolve) => setTimeout(resolve, 50).unref());
        if (isOver() || (await look())) return;
        // The kernel tells the code once somebody has reaped the process; init does so within moments.
        let code = exitCodeOf(pidfd);
        for (let attempt = 0; code === undefined && pidfd !== undefined && attempt < 20; attempt += 1) {
          await new Promise((resolve) => setTimeout(resolve, 25).unref());
          // The descriptor is closed with the watch.
          if (isOver()) return;
          code = exitCodeOf(pidfd);
        }
        conclude({ code: code ?? 255, finishedAt: (BigInt(Date.now()) * 1_000_000n).toString(), fromMonitor: false });
      };
      if (pidfd === undefined) void afterInit();
      else
        cleanups.push(
          reactor.onExit(pidfd, () => void afterInit()),
          () => setImmediate(closeFd, pidfd),
        );
      void look();
      return finish;
    },
    forget: (id) => rm(join(folder, id), { force: true }),
    close: () => watcher.close(),
  };
}

function exitCodeOf(pidfd: number | undefined): number | undefined {
  if (pidfd === undefined) return undefined;
  try {
    return pidfdInfo(pidfd)?.exitCode;
  } catch {
    // Some kernels answer ESRCH for a process that was reaped: nobody knows its code then.
    return undefined;
  }
}

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { preContentRefusal, sealedFile } from '../../../base/kernel/index.ts';
import { keeperProgram } from './keeper-program.ts';

/**
 * More descriptors than the filler ever has: at most {@link mostWaiting} events, a few sockets, and two files
 * for each layer.
 */
const fillerFiles = 65_536;
/** How many events may wait in the filler: more than one container with many threads can make. */
export const mostWaiting = 32_768;
/** How long the filler waits after a keeper could not be started. */
const retryMs = 1000;
/** A keeper that ended sooner is started again after a pause: the filler is alone until then. */
const [shortLifeMs, pauseMs] = [1000, 100];

/** The process that refuses all reads when the filler is gone. */
export interface Keeper {
  readonly pid: () => number;
  /**
   * @param allComplete false: some file will never be complete, so the process stays and refuses reads of it
   */
  end(allComplete: boolean): Promise<void>;
}

/**
 * Starts the keeper, and starts it again when it ended. Resolves when it runs.
 * @param group descriptor of the fanotify group; the keeper gets a copy
 * @param failed called when it cannot be started again. The attempt is repeated: if the filler, now the only
 * holder of the group, ended too, the kernel would allow every read
 * @throws Error when it cannot be started the first time
 */
export async function startKeeper(
  group: number,
  restarted: (why: string) => void,
  failed: (why: string) => void,
): Promise<Keeper> {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const program = sealedFile('portcullis-gate', keeperProgram(fillerFiles, preContentRefusal, machine));
  let isEnding = false;
  /** Resolves when no start is under way. */
  let starting: Promise<void> = Promise.resolve();
  let child = await start();

  async function startAgain(livedMs: number): Promise<void> {
    if (livedMs < shortLifeMs) await pause(pauseMs);
    await replace(() => !isEnding);
  }

  async function replace(isNeeded: () => boolean): Promise<void> {
    while (isNeeded()) {
      try {
        child = await start();
        return;
      } catch (thrown) {
        failed(String(thrown));
        await pause(retryMs);
      }
    }
  }

  async function start(): Promise<ChildProcess> {
    const started = spawn(`/proc/self/fd/${program}`, [], {
      argv0: 'portcullis-gate',
      env: {},
      stdio: [group, 'pipe', 'ignore'],
      detached: true,
    });
    await new Promise<void>((resolve, reject) => {
      started.once('spawn', resolve);
      started.once('error', reject);
    });
    // A failed read of the pipe can be ignored, because the end of the process is handled.
    started.stdout?.on('error', () => undefined);
    started.unref();
    const begun = performance.now();
    started.once('exit', (code, signal) => {
      if (isEnding) return;
      restarted(signal ?? `code ${code}`);
      starting = startAgain(performance.now() - begun);
    });
    return started;
  }

  return {
    pid: () => child.pid ?? 0,
    async end(allComplete) {
      isEnding = true;
      await starting;
      if (child.exitCode !== null || child.signalCode !== null) {
        if (allComplete) return;
        await replace(() => true);
      }
      const ended = new Promise((resolve) => child.once('exit', resolve));
      const pipe = child.stdout as Socket | null;
      if (!allComplete) {
        pipe?.destroy();
        return;
      }
      pipe?.end(Buffer.from([1]));
      await ended;
    },
  };
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createCriClient } from '../../runtime/index.ts';
import type { CriClient } from '../../runtime/index.ts';
import type { Stage } from './stage.ts';

export interface RunningDaemon {
  readonly pid: number;
  readonly cri: CriClient;
  /** From its spawn to its first answer, in ms. */
  readonly startedInMs: number;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with its exit code, null when it had to be killed. */
  stop(): Promise<number | null>;
}

const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');
const patienceMs = 60_000;

/** Starts the daemon by its launcher. Its log is appended to the stage's. */
export async function spawnDaemon(stage: Stage): Promise<Omit<RunningDaemon, 'startedInMs'> & { answers(): Promise<RunningDaemon> }> {
  const log = openSync(stage.daemonLog, 'a');
  const begin = performance.now();
  const child = spawn(launcher, [...stage.daemonArgs], { stdio: ['ignore', log, log] });
  closeSync(log);
  await once(child, 'spawn');
  const gone = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const cri = createCriClient(stage.socket);
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    cri.close();
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    const [code] = await gone;
    clearTimeout(timer);
    return code;
  };
  const running = { pid: child.pid ?? 0, cri, kill: async () => void (await end('SIGKILL')), stop: () => end('SIGTERM') };
  return {
    ...running,
    answers: async () => {
      while (performance.now() - begin < patienceMs) {
        if (child.exitCode !== null || child.signalCode !== null) break;
        try {
          await cri.runtime.version({}, { timeoutMs: 5_000 });
          return { ...running, startedInMs: performance.now() - begin };
        } catch {
          await pause(5);
        }
      }
      throw new Error(`the daemon does not answer; the end of its log:\n${endOfLog(stage)}`);
    },
  };
}

export async function startDaemon(stage: Stage): Promise<RunningDaemon> {
  return (await spawnDaemon(stage)).answers();
}

export function endOfLog(stage: Stage): string {
  return readFileSync(stage.daemonLog, 'utf8').trim().split('\n').slice(-30).join('\n');
}

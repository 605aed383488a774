import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createCriClient } from '../../runtime/client.ts';
import type { CriClient } from '../../runtime/client.ts';
import { accepts } from '../fixtures/accepts.ts';
import type { Stage } from './stage.ts';

interface Process {
  readonly pid: number;
  isGone(): boolean;
  /** Sends SIGKILL; resolves when the process is gone, with false when it had ended before. */
  kill(): Promise<boolean>;
  /** Sends SIGTERM; resolves with its exit code, null when it had to be killed. */
  stop(): Promise<number | null>;
}

export interface StartingDaemon extends Process {
  /** Resolves when it listens. */
  listening(): Promise<RunningDaemon>;
}

export interface RunningDaemon extends Process {
  readonly cri: CriClient;
  /** Milliseconds from its spawn until it listens. */
  readonly startedInMs: number;
}

const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');
const patienceMs = 60_000;

/** Starts the daemon by its launcher. Its log is appended to the stage's. */
export async function spawnDaemon(stage: Stage): Promise<StartingDaemon> {
  const log = openSync(stage.daemonLog, 'a');
  const begin = performance.now();
  stage.starts.push(Date.now());
  const env = { ...process.env, ...stage.faults?.environment };
  const child = spawn(launcher, [...stage.daemonArgs], { stdio: ['ignore', log, log], env });
  closeSync(log);
  stage.place?.(child.pid ?? 0);
  await once(child, 'spawn');
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const isGone = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (isGone()) return child.exitCode;
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    const [code] = await exited;
    clearTimeout(timer);
    return code;
  };
  const own = {
    pid: child.pid ?? 0,
    isGone,
    kill: async () => {
      await end('SIGKILL');
      return child.signalCode === 'SIGKILL';
    },
    stop: () => end('SIGTERM'),
  };
  return {
    ...own,
    listening: async () => {
      // Create a client only now: a gRPC channel that was refused waits for a second before it tries again.
      while (!(await accepts(stage.socket))) {
        if (isGone() || performance.now() - begin > patienceMs)
          throw new Error(`the daemon does not listen; the end of its log:\n${endOfLog(stage)}`);
        await pause(2);
      }
      const startedInMs = performance.now() - begin;
      const cri = createCriClient(stage.socket);
      const closing =
        <T>(act: () => Promise<T>) =>
        (): Promise<T> => {
          cri.close();
          return act();
        };
      return { pid: own.pid, isGone, kill: closing(own.kill), stop: closing(own.stop), cri, startedInMs };
    },
  };
}

export async function startDaemon(stage: Stage): Promise<RunningDaemon> {
  return (await spawnDaemon(stage)).listening();
}

/** Returns the daemon's last error messages and the last lines of its log. */
export function endOfLog(stage: Stage): string {
  const lines = readFileSync(stage.daemonLog, 'utf8').trim().split('\n');
  return [...lines.filter((line) => !line.includes('"level":30')).slice(-10), ...lines.slice(-5)].join('\n');
}

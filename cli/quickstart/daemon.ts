import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PortcullisError } from '../../base/errors/index.ts';
import { createCriClient } from '../../runtime/client.ts';
import { packageRoot } from '../environment/package-root.ts';
import type { Environment } from './environment.ts';

export type CriClient = ReturnType<typeof createCriClient>;

export interface Daemon {
  readonly pid: number;
  readonly cri: CriClient;
  /** Returns whether the process has ended. */
  gone(): boolean;
  readonly logFile: string;
  /** Resident memory, in MiB. */
  residentMiB(): number;
  /** Sends SIGTERM, and SIGKILL after 15 s. Resolves with the exit code, null when it had to be killed. */
  stop(): Promise<number | null>;
}

/** How long the socket may take to answer, in ms. Sources that run for the first time are compiled first. */
const defaultPatience = 60_000;
const stopPatience = 15_000;

/**
 * Starts the real daemon with the launcher that a service manager would use. Throws CLI_DAEMON_SILENT, and
 * ends the daemon then.
 */
export async function startDaemon(
  environment: Pick<Environment, 'folder' | 'socket' | 'root' | 'state' | 'policyFolder' | 'cniFolder'>,
  patience = defaultPatience,
): Promise<Daemon> {
  const logFile = join(environment.folder, 'portcullisd.log');
  const log = openSync(logFile, 'a', 0o600);
  const flags = {
    '--socket': environment.socket,
    '--root': environment.root,
    '--state': environment.state,
    '--policy': environment.policyFolder,
    '--cni-conf-dir': environment.cniFolder,
    // The pods live below a cgroup of the quickstart's own name, also where systemd runs.
    '--cgroup-driver': 'cgroupfs',
  };
  const child = spawn(join(packageRoot(), 'packaging/bin/portcullisd'), Object.entries(flags).flat(), {
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const cri = createCriClient(environment.socket);
  const gone = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const stop = async (): Promise<number | null> => {
    cri.close();
    if (gone()) return child.exitCode;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopPatience);
    const [code] = await exited;
    clearTimeout(timer);
    return code;
  };
  try {
    await answers(cri, gone, { logFile, patience });
  } catch (thrown) {
    await stop();
    throw thrown;
  }
  return {
    pid: child.pid ?? 0,
    cri,
    gone,
    logFile,
    residentMiB: () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid ?? 0}/status`, 'utf8'))?.[1] ?? 0) / 1024,
    stop,
  };
}

async function answers(
  cri: CriClient,
  gone: () => boolean,
  { logFile, patience }: { readonly logFile: string; readonly patience: number },
): Promise<void> {
  const until = performance.now() + patience;
  while (performance.now() < until && !gone()) {
    try {
      const { status } = await cri.runtime.status({}, { timeoutMs: 2000 });
      if (status?.conditions.every((condition) => condition.status) === true) return;
    } catch {
      // not yet there
    }
    await pause(20);
  }
  throw new PortcullisError({
    code: 'CLI_DAEMON_SILENT',
    kind: 'unavailable',
    attempted: 'start',
    on: 'portcullisd',
    why: `it ${gone() ? 'stopped' : `was not ready within ${patience / 1000} s`}, and its log ends with:\n${readFileSync(logFile, 'utf8').trim().slice(-2000)}`,
    fix: 'run `portcullis doctor`',
  });
}

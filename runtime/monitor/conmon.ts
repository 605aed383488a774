import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Socket } from 'node:net';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { closeFd, openPipe } from '../../base/kernel/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import { processIdentity } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';

export interface MonitorFolders {
  /** Exit codes are kept here, on disk: one file a container, named by its id. */
  readonly exits: string;
  /** Short path: attach sockets are reached through it, and a socket path has 107 bytes. */
  readonly attach: string;
}

export interface MonitoredContainer {
  readonly init: ProcessIdentity;
  readonly monitor: ProcessIdentity;
}

const createTimeoutMs = 120_000;
const SIGKILL = 9;

/**
 * Starts conmon, which runs the runtime's `create` and stays. Resolves when the first process exists and waits for its start.
 * @throws PortcullisError RUNTIME_CREATE_FAILED with what the runtime said, RUNTIME_MONITOR_FAILED
 */
export async function createMonitored(input: {
  readonly startProgram: StartProgram;
  /** Absolute path. */
  readonly conmon: string;
  readonly handler: RuntimeHandler;
  readonly id: string;
  readonly bundle: string;
  readonly folders: MonitorFolders;
  /** Absolute; empty keeps no log. */
  readonly logPath: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
  /** Whether input ends with the first client that ends its own (cri-api ContainerConfig.stdin_once). */
  readonly stdinOnce: boolean;
  /** The runtime's `create` asks systemd for the cgroup; its other commands know that from their own state. */
  readonly systemdCgroup: boolean;
}): Promise<MonitoredContainer> {
  const { handler, id, bundle, folders } = input;
  const [monitorPidFile, initPidFile] = [join(bundle, 'monitor.pid'), join(bundle, 'init.pid')];
  const args = [
    ...['--cid', id, '--cuuid', id.slice(0, 16), '--name', id.slice(0, 16), '--bundle', bundle],
    ...['--runtime', handler.program, ...handler.globalArgs.flatMap((arg) => ['--runtime-arg', arg])],
    ...[
      '--exit-dir',
      folders.exits,
      '--socket-dir-path',
      folders.attach,
      '--conmon-pidfile',
      monitorPidFile,
      '--container-pidfile',
      initPidFile,
    ],
    // Its own rotation throws the old log away: a kubelet rotates, and asks for a reopen.
    ...['--log-path', input.logPath === '' ? 'none' : `k8s-file:${input.logPath}`, '--log-level', 'error'],
    ...(input.terminal ? ['--terminal'] : []),
    ...(input.stdin ? ['--stdin'] : []),
    ...(input.stdin && !input.stdinOnce ? ['--leave-stdin-open'] : []),
    ...(input.systemdCgroup ? ['--systemd-cgroup'] : []),
  ];
  const report = await startAndHear(input.startProgram, input.conmon, args, bundle, id);
  if (report.pid <= 0) throw createFailed(id, handler.path, report.message);
  const init = processIdentity(report.pid);
  const monitor = processIdentity(Number(await readFile(monitorPidFile, 'utf8')));
  if (init === undefined) throw createFailed(id, handler.path, 'its first process ended before it was started');
  if (monitor === undefined) throw monitorFailed(id, 'conmon ended at once', 'see the system log; check conmon with `portcullis doctor`');
  return { init, monitor };
}

/** conmon writes one line of JSON to descriptor 3: the pid, or -1 with the runtime's own words. */
async function startAndHear(
  startProgram: StartProgram,
  conmon: string,
  args: readonly string[],
  bundle: string,
  id: string,
): Promise<{ readonly pid: number; readonly message: string }> {
  const pipe = openPipe();
  const socket = new Socket({ fd: pipe.read, readable: true, writable: false });
  let timer: NodeJS.Timeout | undefined;
  try {
    let child: Child;
    try {
      // cwd: conmon leaves its `oom` mark in its working folder. Standard streams must be nobody's pipe: conmon outlives us.
      child = await startProgram({
        path: conmon,
        argv: ['conmon', ...args],
        // Without a locale conmon refuses every argument that is not ASCII, such as a log's path; this part of one is enough.
        env: { PATH: process.env['PATH'], LC_CTYPE: 'C.UTF-8', _OCI_SYNCPIPE: '3' },
        cwd: bundle,
        descriptors: [null, null, null, pipe.write],
      });
    } catch (cause) {
      throw monitorFailed(id, reasonOf(cause), 'install conmon (`portcullis doctor --fix`)');
    } finally {
      closeFd(pipe.write);
    }
    timer = setTimeout(() => {
      child.kill(SIGKILL);
      socket.destroy(monitorFailed(id, `no answer in ${createTimeoutMs / 1000} s`, 'see whether the machine is overloaded, then retry'));
    }, createTimeoutMs);
    let text = '';
    socket.setEncoding('utf8');
    for await (const chunk of socket) {
      text += chunk as string;
      if (!text.includes('\n')) continue;
      const line = JSON.parse(text.slice(0, text.indexOf('\n'))) as { pid?: number; data?: number; message?: string };
      // The process that we started writes the pid file of the one that stays, and ends.
      await child.exited;
      return { pid: line.pid ?? line.data ?? -1, message: line.message ?? '' };
    }
    throw monitorFailed(id, 'conmon ended without a word', 'see the system log; check conmon with `portcullis doctor`');
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Mostly the request's doing: a program that is not in the image, a limit that the kernel does not take. */
function createFailed(id: string, runtime: string, said: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CREATE_FAILED',
    kind: 'precondition',
    attempted: 'create container',
    on: id.slice(0, 13),
    why: `${runtime} said: ${said.trim().slice(0, 2_000)}`,
    fix: 'correct what the runtime names',
  });
}

function monitorFailed(id: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_MONITOR_FAILED',
    kind: 'internal',
    attempted: 'start the monitor of container',
    on: id.slice(0, 13),
    why,
    fix,
  });
}

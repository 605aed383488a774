import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Socket } from 'node:net';
import { parseJson } from '../../base/json/index.ts';
import { leavesUnknown, meansGone, reasonOf, tolerate } from '../../base/errors/index.ts';
import { closeFd, openNullDevice, openPipes, writeFd } from '../../base/kernel/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import { processIdentity } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { limitOfStarted } from '../cgroups/process-limit.ts';
import { withExecutable } from '../oci/runtime-message.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { endProcessesWithArgument } from '../processes/processes.ts';
import { standInCommand } from '../shim/stand-in.ts';
import { createFailed, monitorFailed, refused } from './failures.ts';

export interface MonitorFolders {
  /** Where exit codes are kept on disk: one file per container, named by its id. */
  readonly exits: string;
  /** A short path: attach sockets are reached through it, and a socket path has at most 107 bytes. */
  readonly attach: string;
}

export interface MonitoredContainer {
  readonly init: ProcessIdentity;
  readonly monitor: ProcessIdentity;
}

/**
 * The file to which conmon writes the exit code first, in the bundle: conmon 2.1, src/conmon.c,
 * `--persist-dir`.
 */
export const firstExitFile = 'exit';

/** How long a runtime may take to create a container. */
export const createTimeoutMs = 120_000;
const beginTimeoutMs = 10_000;
/**
 * How often a conmon that does not answer is checked, and how often in a row it must be found waiting for a
 * runtime that has ended.
 */
const lookMs = 1_000;
const looks = 3;
const SIGKILL = 9;
/** conmon's descriptor at which it waits for the start signal. */
const startPipe = 4;
/** The descriptor of a null device that it passes on to the runtime. */
const nullDevice = 5;
/** The descriptor of {@link MonitorInput.configuration}, which it passes on to the runtime. */
export const configurationPipe = 6;

/** A container that conmon will monitor. */
export interface MonitorInput {
  readonly startProgram: StartProgram;
  /** Absolute path. */
  readonly conmon: string;
  readonly handler: RuntimeHandler;
  readonly id: string;
  /** Must exist. */
  readonly bundle: string;
  readonly folders: MonitorFolders;
  /** Absolute; its folder must exist. Empty: no log is kept. */
  readonly logPath: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
  /**
   * Whether input ends with the first client that ends its own input (cri-api ContainerConfig.stdin_once).
   */
  readonly stdinOnce: boolean;
  /**
   * The runtime's `create` asks systemd for the cgroup. Its other commands know that from their own state.
   */
  readonly systemdCgroup: boolean;
  /** The runtime restores the container instead of creating it. */
  readonly restore?: RestoreInput | undefined;
  /** A descriptor from which the runtime reads its configuration. */
  readonly configuration?: number;
}

/** How a runtime restores a container from criu's images. */
export interface RestoreInput {
  /** The folder of the images. */
  readonly images: string;
  /** A command that runs the runtime, the name of its program first. What it sets is inherited. */
  readonly launcher: readonly string[];
  /** Options of the runtime's `restore`. */
  readonly options: readonly string[];
  /** How long it may take. */
  readonly timeoutMs: number;
}

/** A conmon that has opened its log and waits. */
export interface WaitingMonitor {
  /**
   * Lets conmon run the runtime's `create`, for which the bundle must be complete. conmon keeps running.
   * Resolves when the first process exists and waits for its start.
   * @throws PortcullisError RUNTIME_CREATE_FAILED with the runtime's message (kind `precondition`: another
   * attempt would fail, too), RUNTIME_MONITOR_FAILED
   * @param signal ends the runtime and conmon, and rejects with its reason
   */
  create(signal?: AbortSignal): Promise<MonitoredContainer>;
  /** Ends conmon before that. It has created nothing but its log. */
  abandon(): Promise<void>;
}

/** A conmon that waits for the signal to run the runtime. */
export interface StartedMonitor extends WaitingMonitor {
  /**
   * Lets conmon run the runtime's `create`, and resolves when conmon has left the process that was started
   * here. @returns the conmon that stays; undefined if it has ended
   */
  begin(): Promise<ProcessIdentity | undefined>;
  /** Resolves when the runtime has ended, after {@link begin}. Throws as `create` does. */
  created(signal?: AbortSignal): Promise<MonitoredContainer>;
  /** Stops waiting for the runtime, after {@link begin}. */
  ignore(): void;
}

/**
 * Starts conmon, which waits for the signal to create the container, so that it starts while the bundle is
 * prepared. If this process ends first, conmon continues by itself. Therefore the intent must be durable, and
 * the next start ends conmon by the id among its arguments.
 * @throws PortcullisError RUNTIME_MONITOR_FAILED
 */
export async function startMonitor(input: MonitorInput): Promise<StartedMonitor> {
  const { id, bundle } = input;
  const [report, gate] = openPipes();
  let device: number | undefined;
  let child: Child;
  try {
    device = openNullDevice();
    // cwd: conmon leaves its `oom` mark in its working folder. Its standard streams must not be pipes of this
    // process, because conmon outlives it.
    child = await input.startProgram({
      path: input.conmon,
      argv: ['conmon', ...argumentsFor(input)],
      // Without a locale conmon refuses every argument that is not ASCII, such as a log's path. LC_CTYPE
      // alone is enough.
      env: {
        PATH: process.env['PATH'],
        LC_CTYPE: 'C.UTF-8',
        _OCI_SYNCPIPE: '3',
        _OCI_STARTPIPE: String(startPipe),
      },
      cwd: bundle,
      descriptors: [
        ...[device, device, device, report.write, gate.read, device],
        ...(input.configuration === undefined ? [] : [input.configuration]),
      ],
      // A runtime that creates a container gives it a keyring. One that restores a container does not.
      ownKeyring: input.restore !== undefined,
    });
  } catch (cause) {
    for (const fd of [report.read, gate.write]) closeFd(fd);
    if (leavesUnknown(cause))
      throw monitorFailed(
        id,
        reasonOf(cause),
        'repeat the request; check whether the node has free memory and processes',
        'exhausted',
      );
    throw monitorFailed(id, reasonOf(cause), 'install conmon (`portcullis doctor --fix`)');
  } finally {
    for (const fd of [report.write, gate.read]) closeFd(fd);
    if (device !== undefined) closeFd(device);
  }
  const open = (): void => {
    try {
      writeFd(gate.write, Buffer.alloc(1));
    } catch {
      // It has ended; its report says why.
    } finally {
      closeFd(gate.write);
    }
  };
  const created = async (signal?: AbortSignal): Promise<MonitoredContainer> => {
    const { pid, message } = await hear(report.read, child, input, signal);
    if (pid <= 0) throw refused(id, input.handler.path, withExecutable(message, programIn(bundle)));
    const init = processIdentity(pid);
    const monitor = monitorIn(bundle);
    if (init === undefined)
      throw createFailed(id, 'internal', 'its first process ended before it was started');
    if (monitor === undefined)
      throw monitorFailed(
        id,
        'conmon ended at once',
        'read the system log, and check conmon with `portcullis doctor`',
      );
    return { init, monitor };
  };
  return {
    create: (signal) => {
      open();
      return created(signal);
    },
    begin: async () => {
      open();
      // It writes the pid file of the process that stays before it ends.
      const timer = setTimeout(() => child.kill(SIGKILL), beginTimeoutMs);
      await child.exited;
      clearTimeout(timer);
      return monitorIn(bundle);
    },
    created,
    ignore: () => closeFd(report.read),
    abandon: async () => {
      child.kill(SIGKILL);
      await child.exited;
      for (const fd of [report.read, gate.write]) closeFd(fd);
    },
  };
}

const monitorPidFile = 'monitor.pid';

/**
 * Returns undefined if it has ended, or if the process that starts it was killed before it could write the
 * file.
 */
function monitorIn(bundle: string): ProcessIdentity | undefined {
  return tolerate(meansGone, () =>
    processIdentity(Number(readFileSync(join(bundle, monitorPidFile), 'utf8'))),
  );
}

function argumentsFor({ handler, id, bundle, folders, ...input }: MonitorInput): string[] {
  return [
    ...['--cid', id, '--cuuid', id.slice(0, 16), '--name', id.slice(0, 16), '--bundle', bundle],
    ...runtimeArguments(handler, bundle, input),
    // First into the bundle, which is usually on another file system than the exits: a full file system of
    // exits does not lose the code.
    ...['--persist-dir', bundle, '--exit-dir', folders.exits, '--socket-dir-path', folders.attach],
    ...['--conmon-pidfile', join(bundle, monitorPidFile), '--container-pidfile', join(bundle, 'init.pid')],
    // conmon's own rotation discards the old log. A kubelet rotates, and asks for a reopen.
    ...['--log-path', input.logPath === '' ? 'none' : `k8s-file:${input.logPath}`, '--log-level', 'error'],
    // The shim has the terminal, and gives the monitor its output.
    ...(input.restore === undefined
      ? []
      : [
          ...['--restore', input.restore.images],
          ...input.restore.options.flatMap((option) => ['--runtime-opt', option]),
        ]),
    ...(input.terminal && handler.tasks === undefined ? ['--terminal'] : []),
    ...(input.stdin ? ['--stdin'] : []),
    ...(input.stdin && !input.stdinOnce ? ['--leave-stdin-open'] : []),
  ];
}

/**
 * Without input, conmon opens the machine's /dev/null as a runtime's standard input, and with a terminal also
 * as its standard output. crun makes the root of a user namespace the owner of these files. Without a user
 * namespace, it passes them to a container whose root may change their mode for the whole machine. runc opens
 * the container's own null device instead. Therefore crun starts with our null device (docs/decisions/0077).
 * conmon's own `--systemd-cgroup` would come before these arguments, so the shell would get it.
 */
function runtimeArguments(
  { kind, program, globalArgs, tasks }: RuntimeHandler,
  bundle: string,
  {
    stdin,
    terminal,
    systemdCgroup,
    restore,
  }: Pick<MonitorInput, 'stdin' | 'terminal' | 'systemdCgroup' | 'restore'>,
): string[] {
  // conmon needs the path of a program, and a shell looks for it.
  const through = restore === undefined ? [] : ['/bin/sh', '-c', 'exec "$0" "$@"', ...restore.launcher];
  const own = [...through, program, ...globalArgs, ...(systemdCgroup ? ['--systemd-cgroup'] : [])];
  const ours = `<&${nullDevice} ${terminal ? `>&${nullDevice} ` : ''}${nullDevice}<&-`;
  const isPiped = stdin && !terminal;
  const [first = '', ...more] =
    tasks !== undefined
      ? standInCommand(bundle)
      : kind === 'crun' && !isPiped
        ? ['/bin/sh', '-c', `exec "$0" "$@" ${ours}`, ...own]
        : own;
  return ['--runtime', first, ...more.flatMap((arg) => ['--runtime-arg', arg])];
}

/** Reads conmon's report: one line of JSON with the pid, or -1 with the runtime's own message. */
async function hear(
  fd: number,
  child: Child,
  input: MonitorInput,
  signal: AbortSignal | undefined,
): Promise<{ readonly pid: number; readonly message: string }> {
  const { id, bundle } = input;
  const seen: { waiting: number; ending?: Promise<void> } = { waiting: 0 };
  // A rejection that nothing awaits would end this process. What stays is ended with the container's removal.
  // A client that names the container names no bundle.
  const endRuntime = (): Promise<void> => endProcessesWithArgument(id, [bundle]).catch(() => undefined);
  const watch = setInterval(() => {
    if (seen.waiting >= looks) return;
    seen.waiting = waitsForWords(join(input.bundle, monitorPidFile)) ? seen.waiting + 1 : 0;
    if (seen.waiting === looks) seen.ending = endRuntime();
  }, lookMs);
  const socket = new Socket({ fd, readable: true, writable: false });
  const timeoutMs = input.restore?.timeoutMs ?? createTimeoutMs;
  const giveUp = (why: Error): void => {
    // Its arguments do not show the id yet if it was started just before.
    child.kill(SIGKILL);
    void endRuntime();
    socket.destroy(why);
  };
  const timer = setTimeout(() => {
    const why = `it did not answer within ${timeoutMs / 1000} s`;
    const fix =
      input.restore === undefined
        ? 'check whether the machine is overloaded, then retry'
        : 'raise `checkpoint.timeout`, and check whether the machine is overloaded';
    giveUp(monitorFailed(id, why, fix));
  }, timeoutMs);
  const abort = (): void => giveUp(signal?.reason as Error);
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted === true) abort();
  try {
    let text = '';
    socket.setEncoding('utf8');
    for await (const chunk of socket) {
      text += chunk as string;
      if (!text.includes('\n')) continue;
      // conmon escapes each control character but this one, which JSON does not allow in a string (RFC 8259).
      const report = text.slice(0, text.indexOf('\n')).replaceAll('\u001F', '\\u001f');
      const line = parseJson(report) as {
        pid?: number;
        data?: number;
        message?: string;
      };
      // The process that was started here writes the pid file of the process that stays, and ends.
      await child.exited;
      return { pid: line.pid ?? line.data ?? -1, message: line.message ?? '' };
    }
    await seen.ending;
    if (seen.waiting >= looks)
      throw createFailed(id, 'internal', `${input.handler.path} was ended before it created the container`);
    const limit = limitOfStarted();
    if (limit !== undefined)
      throw monitorFailed(
        id,
        `conmon ended without a report, because no process could be created: ${limit}`,
        'raise this limit (`TasksMax` of a unit), and repeat the request',
        'exhausted',
      );
    throw monitorFailed(
      id,
      'conmon ended without a report',
      'read the system log, and check conmon with `portcullis doctor`',
    );
  } finally {
    clearInterval(watch);
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    socket.destroy();
  }
}

/** Returns the program of the bundle’s configuration, if this can be read. */
function programIn(bundle: string): string | undefined {
  try {
    const config = parseJson(readFileSync(join(bundle, 'config.json'), 'utf8')) as {
      readonly process?: { readonly args?: readonly string[] };
    };
    return config.process?.args?.[0];
  } catch {
    return undefined;
  }
}

/** read(2), by its number in the kernel's tables. */
const readCall: Readonly<Record<string, string>> = { x64: '0', arm64: '63' };

/**
 * Reports whether conmon reads the last message of a runtime that has ended. If the runtime was killed (OOM),
 * a process that it had started may hold the other end of that pipe, and wait for the runtime for as long as
 * it lives.
 */
function waitsForWords(pidFile: string): boolean {
  try {
    const pid = Number(readFileSync(pidFile, 'utf8'));
    const [call, fd] = readFileSync(`/proc/${pid}/syscall`, 'utf8').split(' ');
    return call === readCall[process.arch] && Number(fd) !== startPipe;
  } catch {
    // It has not got that far, has ended, or cannot be inspected: the time limit applies.
    return false;
  }
}

import { writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { closeFd, isErrno, openNullDevice, openPipe, openPipes, writeFd } from '../../base/kernel/index.ts';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { readPidToKill } from './exec-files.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { checkCommandPlace } from './command-paths.ts';
import type { CommandPlace } from '../container-mounts/command-paths-check.ts';
import type { ExecFiles } from './exec-files.ts';
import type { ExecScope } from './exec-scope.ts';
import { killGroup, killSession } from './exec-session.ts';
import { copyOomScore } from '../processes/oom-score.ts';
import { startTaskCommand } from '../shim/exec.ts';
import type { TaskCommand } from '../shim/exec.ts';
import { showsMounts } from './runtime-handler.ts';
import type { RuntimeHandler } from './runtime-handler.ts';

/** A container in which a command is to run. Plain data. */
export interface ExecTarget {
  readonly id: string;
  readonly handler: Pick<RuntimeHandler, 'name' | 'program' | 'kind' | 'version' | 'globalArgs'> & {
    /** Whether its program is a shim. */
    readonly isShim: boolean;
    /** See {@link showsMounts}. */
    readonly showsMounts: boolean;
  };
  /** Absolute path of the monitor. */
  readonly conmon: string;
  /** The first process. */
  readonly init: number;
  /** A private folder for the files of running commands. */
  readonly dir: string;
}

/** A command that the runtime was asked to start. */
export interface StartedCommand {
  /**
   * The exit code of the command, or of the runtime itself: `files.started()` shows which. Undefined when its
   * parent was killed before the command ended.
   */
  readonly exited: Promise<number | undefined>;
  /**
   * Kills the command and the processes that it started, except those for which `spare` returns true.
   * Resolves when the command is reaped.
   */
  kill(spare?: (pid: number) => boolean): Promise<void>;
  /** Sets the size of the terminal that a shim has for the command. */
  readonly resize?: TaskCommand['resize'];
}

/** Returns the properties of a handler that a command needs, as plain data. */
export function execHandler(handler: RuntimeHandler): ExecTarget['handler'] {
  const { name, program, kind, version, globalArgs, tasks } = handler;
  return {
    ...{ name, program, kind, version, globalArgs },
    isShim: tasks !== undefined,
    showsMounts: showsMounts(handler),
  };
}

/** The maximum time for its parent to reap a killed command. */
const reapMs = 1_000;

/** Reports whether a runtime supports `exec --cgroup`. */
export function takesCgroup(handler: Pick<RuntimeHandler, 'kind'>): boolean {
  return handler.kind !== 'other';
}

/**
 * Starts a command with the container's own confinement, after checking that the container has not tampered
 * with its launcher and its working directory. crun stays the parent of the command. Other runtimes copy a
 * command's output while they wait, for as long as any process holds it. Therefore they start it detached,
 * and conmon is the parent, with the descriptors passed through. The caller may close its descriptors once
 * the promise resolves.
 * @param input.descriptors the command's standard streams; `null` is a null device
 * @param input.consoleSocket where the runtime sends the master of the command's terminal
 * @throws PortcullisError RUNTIME_LAUNCHER_REPLACED, RUNTIME_BAD_WORKING_DIR, RUNTIME_CONTAINER_ROOT_UNKNOWN,
 * RUNTIME_EXEC_TIMEOUT, RUNTIME_EXEC_NO_PROCESS
 */
export async function startCommand(input: {
  readonly startProgram: StartProgram;
  readonly paths: Pick<HostPaths, 'checkPlace'>;
  readonly target: ExecTarget;
  readonly place: CommandPlace;
  readonly files: ExecFiles;
  readonly scope: ExecScope | undefined;
  readonly descriptors: readonly [number | null, number | null, number | null];
  readonly consoleSocket?: string;
  /** Whether the command has a terminal. Read for shims only, which connect it to the streams. */
  readonly terminal?: boolean;
  /** How long a shim may take to start the command, if this is less than a minute. */
  readonly timeoutMs?: number;
}): Promise<StartedCommand> {
  const { target, files, scope } = input;
  if (target.handler.isShim) return startInShim(input);
  const console = input.consoleSocket === undefined ? [] : ['--console-socket', input.consoleSocket];
  const options = [...console, ...(scope?.args ?? [])];
  await checkCommandPlace(target, input.place, input.paths);
  const parent = await withNullDevice(input.descriptors, (descriptors) => {
    const given = { ...input, descriptors };
    return target.handler.kind === 'crun' ? startDirectly(given, options) : startMonitored(given, options);
  }).catch((cause: unknown) => {
    throw isErrno(cause, 'EAGAIN', 'ENOMEM') ? noProcess(target.id, cause) : cause;
  });
  let killed: Promise<void> | undefined;
  const kill = async (spare?: (pid: number) => boolean): Promise<void> => {
    const command = await readPidToKill(files.pid);
    if (command === undefined) parent.kill();
    else killGroup(command, spare);
    await scope?.kill(await parent.pid(), spare);
    const timer = setTimeout(() => parent.kill(), reapMs);
    await parent.exited;
    clearTimeout(timer);
    // The command that was about to be started.
    await scope?.kill(0, spare);
  };
  return { exited: parent.exited, kill: (spare) => (killed ??= kill(spare)) };
}

function noProcess(id: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EXEC_NO_PROCESS',
    kind: 'exhausted',
    attempted: 'run a command in container',
    on: id.slice(0, 13),
    why: `no process could be created on the node: ${reasonOf(cause)}`,
    fix: 'compare the processes and the memory of the daemon’s unit with their limits (TasksMax, MemoryMax), and those of the machine (kernel.pid_max)',
    cause,
  });
}

/** Starts a command through the shim of its container, which is its parent and reports its end. */
async function startInShim({
  target,
  place,
  paths,
  files,
  descriptors,
  terminal = false,
  timeoutMs,
}: Parameters<typeof startCommand>[0]): Promise<StartedCommand> {
  let unsafe: PortcullisError | undefined;
  let command: TaskCommand | undefined;
  try {
    command = await startTaskCommand({
      check: (init) =>
        checkCommandPlace({ ...target, init }, place, paths).catch((thrown: unknown) => {
          if (isPortcullisError(thrown)) unsafe = thrown;
          throw thrown;
        }),
      container: target.id,
      bundle: target.dir,
      name: files.name,
      process: files.description,
      terminal,
      descriptors,
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
    // Without the process, it is not known which processes a user has detached from it.
    if (target.handler.showsMounts) await writeFile(files.pid, String(command.pid), { mode: 0o600 });
    await files.markStarted();
  } catch (cause) {
    // It runs, and nothing would wait for it.
    await command?.kill();
    if (unsafe !== undefined) throw unsafe;
    if (isPortcullisError(cause) && cause.code === 'RUNTIME_EXEC_TIMEOUT') throw cause;
    files.refuse(reasonOf(cause));
    return { exited: Promise.resolve(255), kill: () => Promise.resolve() };
  }
  const { pid, exited, kill, resize } = command;
  // The node does not see the processes of other kernels.
  const leader = target.handler.showsMounts ? processIdentity(pid) : undefined;
  return {
    exited,
    kill: async (spare) => {
      if (leader !== undefined && sameProcess(leader)) killSession(leader.pid, spare);
      await kill();
      await exited;
    },
    resize,
  };
}

/** The process that will reap the command. */
interface Parent {
  pid(): Promise<number>;
  readonly exited: Promise<number | undefined>;
  kill(): void;
}

type Descriptors = readonly [number, number, number];
type Start = Omit<Parameters<typeof startCommand>[0], 'descriptors'> & { readonly descriptors: Descriptors };
const SIGKILL = 9;

/**
 * Opens one null device for the streams that are `null`. It belongs to this command alone, because a runtime
 * makes the user of the command the owner of the standard streams.
 */
async function withNullDevice<T>(
  [stdin, stdout, stderr]: Parameters<typeof startCommand>[0]['descriptors'],
  start: (descriptors: Descriptors) => Promise<T>,
): Promise<T> {
  if (stdin !== null && stdout !== null && stderr !== null) return start([stdin, stdout, stderr]);
  using opened = new DisposableStack();
  const device = opened.adopt(openNullDevice(), closeFd);
  return await start([stdin ?? device, stdout ?? device, stderr ?? device]);
}

async function startDirectly(
  { startProgram, target, files, scope, descriptors }: Start,
  options: readonly string[],
): Promise<Parent> {
  const { handler, id } = target;
  const gate = openPipe();
  const command = ['exec', '--process', '/proc/self/fd/3', '--pid-file', files.pid, ...options, id];
  const argv = [handler.name, ...handler.globalArgs, '--log', files.log, ...command];
  try {
    const child = await startProgram({
      path: handler.program,
      argv,
      env: { ...process.env },
      descriptors: [...descriptors, gate.read],
    });
    // The runtime waits for the description, which is sent when the runtime is in its cgroup. Otherwise, on a
    // busy machine, the command might start first.
    await scope?.adopt(child.pid).catch(() => undefined);
    await copyOomScore(target.init, child.pid);
    new Socket({ fd: gate.write, readable: false, writable: true })
      .on('error', () => undefined)
      .end(files.description);
    return { pid: () => Promise.resolve(child.pid), exited: child.exited, kill: () => child.kill(SIGKILL) };
  } catch (error) {
    closeFd(gate.write);
    throw error;
  } finally {
    closeFd(gate.read);
  }
}

async function startMonitored(input: Start, options: readonly string[]): Promise<Parent> {
  const { startProgram, target, files, scope, descriptors } = input;
  const { handler, id, conmon, dir } = target;
  const [sync, gate] = openPipes();
  const argv = [
    ...[
      'conmon',
      '--exec',
      '--exec-process-spec',
      files.spec,
      '--cid',
      id,
      '--cuuid',
      files.name,
      '--name',
      files.name,
      '--bundle',
      dir,
    ],
    ...[
      '--runtime',
      handler.program,
      ...[...handler.globalArgs, '--log', files.log].flatMap((arg) => ['--runtime-arg', arg]),
    ],
    ...options.flatMap((option) => ['--runtime-opt', option]),
    ...[
      '--container-pidfile',
      files.pid,
      '--conmon-pidfile',
      files.monitor,
      '--log-path',
      'passthrough',
      '--log-level',
      'error',
    ],
  ];
  const env = { PATH: process.env['PATH'], _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' };
  try {
    const child = await startProgram({
      path: conmon,
      argv,
      env,
      cwd: dir,
      descriptors: [...descriptors, sync.write, gate.read],
    });
    // conmon waits for one byte before it starts anything.
    await scope?.adopt(child.pid).catch(() => undefined);
    await copyOomScore(target.init, child.pid);
    writeFd(gate.write, Buffer.alloc(1));
  } catch (error) {
    closeFd(sync.read);
    throw error;
  } finally {
    for (const fd of [sync.write, gate.read, gate.write]) closeFd(fd);
  }
  const pid = async (): Promise<number> => (await readPidToKill(files.monitor)) ?? 0;
  return {
    pid,
    exited: exitCodeFrom(sync.read),
    kill: () => {
      void pid().then((monitor) => (monitor === 0 ? undefined : killGroup(monitor)));
    },
  };
}

/**
 * Reads the exit code. conmon writes one line of JSON when the command has ended, with -1 when the runtime
 * could not start it. The end of conmon alone is not a report.
 */
async function exitCodeFrom(fd: number): Promise<number | undefined> {
  const socket = new Socket({ fd, readable: true, writable: false });
  let text = '';
  try {
    for await (const chunk of socket.setEncoding('utf8')) {
      text += chunk as string;
      const end = text.indexOf('\n');
      if (end !== -1) return (parseJson(text.slice(0, end)) as { exit_code?: number }).exit_code;
    }
  } catch {
    // Treated as an end without a report.
  }
  return undefined;
}

import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { writeNewFile } from '../../base/files/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { endProcessesWithArgument } from '../processes/processes.ts';
import { runCommand } from '../processes/command.ts';
import type { CommandResult } from '../processes/command.ts';
import { deleteDamaged } from './delete-damaged.ts';
import { deleteStopped } from './delete-stopped.ts';
import { resumeStart, waitsForStart } from './resume-start.ts';
import { startByFifo } from './start-by-fifo.ts';
import { plainMessage } from './runtime-message.ts';
import { openSealedProgram } from './sealed-program.ts';
import { openAdvisories } from './advisories.ts';
import type { OciResources } from './spec.types.ts';
import type { ShimTasks } from '../shim/tasks.ts';

const updatePrefix = '.update-';

/** The status that a runtime's `state` command reports; `absent` when it does not know the container. */
export type ObservedStatus = 'absent' | 'creating' | 'created' | 'running' | 'stopped' | 'paused';

/** The kernel that a handler gives its containers: in user space, or in a virtual machine. */
export interface GuestKernel {
  /** The name of the handler. */
  readonly handler: string;
  /** Whether it applies the filter of system calls that the OCI specification of a container has. */
  readonly filtersCalls: boolean;
}

/**
 * One OCI runtime, driven by its command line (runtime-spec runtime.md, and the extensions that crun and runc
 * share).
 */
export interface RuntimeHandler {
  readonly name: string;
  readonly path: string;
  /** The program to execute now: a sealed copy of `path`, or `path` itself ({@link openSealedProgram}). */
  readonly program: string;
  /** The type of the program, from its `--version`. Our precompiled filter is for crun. */
  readonly kind: 'crun' | 'runc' | 'other';
  readonly version: string;
  /** Arguments that precede every command. */
  readonly globalArgs: readonly string[];
  /** The folder of the runtime's own state, with one folder for each container. */
  readonly stateDir: string;
  /** The tasks of a handler whose program is a shim; undefined: it is an OCI runtime. */
  readonly tasks?: ShimTasks;
  /** Undefined: containers run on the kernel of the node. */
  readonly guestKernel?: GuestKernel;
  /** Its containers get writable cgroups where a ceiling grants them, without asking. */
  readonly writableCgroups?: boolean;
  /**
   * Starts a created container.
   * @param cutOff the first process, if an earlier start was interrupted by the daemon's end
   * @param signal ends the runtime, and rejects with its reason
   */
  start(id: string, cutOff?: ProcessIdentity, signal?: AbortSignal): Promise<void>;
  observe(id: string): Promise<ObservedStatus>;
  /** Reports whether the first process has passed its start, even if the start was interrupted. */
  isStarted(id: string, init: ProcessIdentity | undefined): Promise<boolean>;
  /**
   * Removes the runtime's state of a container, even of a half-created container, and kills the processes
   * that still run in it. An absent container is a success.
   * @param callerRemovesCgroup the caller ends what still runs in the container's cgroup and removes it
   */
  delete(id: string, callerRemovesCgroup?: boolean): Promise<void>;
  /**
   * Removes what the OCI runtime of a shim has left of a container that the shim does not know, because its
   * creation was cut off. Call it when the creation has ended. Never rejects.
   * @param folder of the bundle; default: that of a container
   */
  clear?(id: string, folder?: string): Promise<void>;
  /** @param signal ends the runtime, and rejects with its reason */
  update(id: string, resources: OciResources, signal?: AbortSignal): Promise<void>;
}

/**
 * Whether the node sees the mounts of the containers of a handler, so that it can check them. Virtual
 * machines and kernels in user space have mounts of their own.
 */
export function showsMounts({
  kind,
  tasks,
  guestKernel,
}: Pick<RuntimeHandler, 'kind' | 'tasks' | 'guestKernel'>): boolean {
  return tasks === undefined ? kind !== 'other' : guestKernel === undefined;
}

/**
 * Asks the program of an OCI runtime for its type and version.
 * @param name the handler, in errors
 * @throws PortcullisError RUNTIME_HANDLER_UNUSABLE when the program does not answer `--version`
 */
export async function askRuntime(
  startProgram: StartProgram,
  name: string,
  path: string,
): Promise<Pick<RuntimeHandler, 'kind' | 'version'>> {
  const answer = await runCommand(startProgram, path, ['--version']).catch((cause: unknown) => {
    throw unusable(name, path, reasonOf(cause));
  });
  if (answer.exitCode !== 0) throw unusable(name, path, answer.stderr.trim());
  const firstLine = answer.stdout.split('\n')[0] ?? '';
  const kind = firstLine.startsWith('crun') ? 'crun' : firstLine.startsWith('runc') ? 'runc' : 'other';
  return { kind, version: /version (\S+)/.exec(firstLine)?.[1] ?? '0' };
}

/**
 * Opens a runtime handler.
 * @param stateDir a folder for the state of this handler alone
 * @throws PortcullisError RUNTIME_HANDLER_UNUSABLE when the program does not answer `--version`
 */
export async function openRuntimeHandler(input: {
  readonly startProgram: StartProgram;
  readonly name: string;
  readonly path: string;
  readonly stateDir: string;
  readonly writableCgroups?: boolean | undefined;
}): Promise<RuntimeHandler> {
  const { startProgram, name, path, stateDir, writableCgroups = false } = input;
  const { kind, version } = await askRuntime(startProgram, name, path);
  const globalArgs = ['--root', stateDir];
  const program = kind === 'other' ? () => path : await openSealedProgram(path);
  // The file that each runtime writes last. For other runtimes it is unknown.
  const statusFile = { crun: 'status', runc: 'state.json', other: '.' }[kind];
  // The file of an update whose daemon was killed.
  for (const left of await readdir(stateDir))
    if (left.startsWith(updatePrefix)) await rm(join(stateDir, left), { force: true });
  // The path of a sealed copy does not say which program it is.
  const run = (words: readonly string[], signal?: AbortSignal): Promise<CommandResult> =>
    runCommand(startProgram, program(), words, { signal, name: path });
  const call = async (
    command: string,
    id: string,
    args: readonly string[],
    signal?: AbortSignal,
  ): Promise<void> => {
    const words = [...globalArgs, command, ...args, id];
    const result = await run(words, signal);
    if (result.exitCode !== 0) throw runtimeFailed(path, command, id, result);
  };
  const observe = async (id: string): Promise<ObservedStatus> => {
    const result = await run([...globalArgs, 'state', id]);
    if (result.exitCode !== 0) return 'absent';
    return (parseJson(result.stdout) as { status: ObservedStatus }).status;
  };
  return {
    name,
    path,
    get program() {
      return program();
    },
    kind,
    version,
    globalArgs,
    stateDir,
    writableCgroups,
    start: async (id, cutOff, signal) => {
      if (kind === 'crun' && cutOff !== undefined) {
        // No process waits: it was started, and continued a moment after it was inspected.
        if ((await resumeStart(join(stateDir, id), cutOff)) || (await observe(id)) === 'running') return;
      }
      if (kind === 'crun' && (await startByFifo(join(stateDir, id)))) return;
      await call('start', id, [], signal);
    },
    observe,
    isStarted: async (id, init) =>
      (await observe(id)) === 'running' && !(kind === 'crun' && (await waitsForStart(init))),
    delete: async (id, callerRemovesCgroup = false) => {
      if (kind === 'crun' && callerRemovesCgroup && (await deleteStopped(join(stateDir, id)))) return;
      // A `create` that was interrupted or is still running: crun would delete the folder, report success,
      // and leave the first process waiting for its start forever. The first process and the command itself
      // have the id and the folder of the runtime among their arguments. A client has only the id.
      if (existsSync(join(stateDir, id)) && !existsSync(join(stateDir, id, statusFile)))
        await endProcessesWithArgument(id, [stateDir]);
      // A plain delete comes first, because runc >= 1.2 sleeps 100 ms in a forced one.
      const plain = await run([...globalArgs, 'delete', id]);
      if (plain.exitCode === 0 || isUnknown(plain.stderr)) return;
      const forced = await run([...globalArgs, 'delete', '--force', id]);
      if (forced.exitCode === 0 || isUnknown(forced.stderr)) return;
      const failed = runtimeFailed(path, 'delete', id, forced);
      if (!callerRemovesCgroup || kind === 'other') throw failed;
      if (!(await deleteDamaged(join(stateDir, id), statusFile).catch(() => false))) throw failed;
    },
    update: async (id, resources, signal) => {
      // A file instead of standard input: a child's stdin is a socket pair here, and /dev/stdin cannot be
      // opened on a socket.
      const file = join(stateDir, `${updatePrefix}${id}-${process.hrtime.bigint()}.json`);
      await writeNewFile(file, JSON.stringify(resources), { mode: 0o600 });
      try {
        await call('update', id, ['--resources', file], signal);
      } finally {
        await rm(file, { force: true });
      }
    },
  };
}

function isUnknown(stderr: string): boolean {
  return /does not exist|No such file or directory|container not found/i.test(stderr);
}

function runtimeFailed(
  path: string,
  command: string,
  id: string,
  { stderr, exitCode }: Pick<CommandResult, 'stderr' | 'exitCode'>,
): PortcullisError {
  const message = plainMessage(stderr).trim().slice(0, 2_000);
  const wasKilled = exitCode > 128;
  const end = wasKilled ? `signal ${exitCode - 128} ended it` : `it exited with ${exitCode}`;
  return new PortcullisError({
    code: 'RUNTIME_OCI_FAILED',
    // These commands mostly fail because of the request: a program that cannot be executed, or a limit that
    // the kernel does not accept.
    kind: !wasKilled && (command === 'start' || command === 'update') ? 'precondition' : 'internal',
    attempted: `run ${path} ${command} for container`,
    on: id.slice(0, 13),
    why: message === '' ? `${end} without a message` : message,
    fix: wasKilled
      ? 'find out whether the node lacks memory (`dmesg`), and repeat the request'
      : 'see the reason; `portcullis doctor` checks the runtime',
  });
}

/** Returns the error of a handler whose program does not answer. */
export function unusable(name: string, path: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_HANDLER_UNUSABLE',
    kind: 'precondition',
    attempted: 'open runtime handler',
    on: `${name} (${path})`,
    why,
    fix: 'install the runtime (`portcullis doctor --fix`) or correct its path in the configuration',
  });
}

/**
 * Refuses a runtime with a published vulnerability that is not fixed in its version. A distribution's
 * backport does not count, because the version number does not show it.
 * @throws PortcullisError RUNTIME_HANDLER_VULNERABLE
 */
export function refuseVulnerable(handler: Pick<RuntimeHandler, 'name' | 'path' | 'kind' | 'version'>): void {
  const open = openAdvisories(handler.kind, handler.version, () => false).map((advisory) => advisory.cve);
  if (open.length === 0) return;
  throw new PortcullisError({
    code: 'RUNTIME_HANDLER_VULNERABLE',
    kind: 'precondition',
    attempted: 'open runtime handler',
    on: `${handler.name} (${handler.path} ${handler.version})`,
    why: `the configuration says \`strict: true\`, and ${open.join(', ')} are open in this version`,
    fix: 'install a version in which they are fixed, or run without `strict`: `portcullis doctor` shows how each is mitigated',
    details: { open },
  });
}

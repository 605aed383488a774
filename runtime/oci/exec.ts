import { PortcullisError, asPortcullisError, failure } from '../../base/errors/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import type { CommandPlace } from '../container-mounts/command-paths-check.ts';
import { writeExecFiles } from './exec-files.ts';
import { limitOfStarted, reachedProcessLimit } from '../cgroups/process-limit.ts';
import type { ExecFiles } from './exec-files.ts';
import { openExecScope } from './exec-scope.ts';
import type { ExecScope, ExecScopes } from './exec-scope.ts';
import { openOutputs } from '../../base/kernel/index.ts';
import type { OutputRoom } from '../../base/kernel/index.ts';
import { openCommandRoom } from './output-room.ts';
import type { CommandRoom } from './output-room.ts';
import type { OciProcess } from './spec.types.ts';
import { startCommand, takesCgroup } from './start-command.ts';
import type { ExecTarget } from './start-command.ts';

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/**
 * How long background processes that hold the pipes and keep writing may delay an answer after the command's
 * own exit.
 */
const drainMs = 1_000;
/** Node.js fires a timer of more milliseconds at once (setTimeout). This is 24 days. */
const longestTimer = 2 ** 31 - 1;
/** How long silent processes that hold the pipes may delay an answer. */
const quietMs = 50;

/**
 * Runs a command in a running container, with the container's own confinement, and waits for it. At its
 * timeout, and when the caller gives up, every process that the command started is killed with it, even one
 * that has left its session. The container's own processes are never killed. Background processes that hold
 * the command's output do not delay the answer.
 * @param input.timeoutMs 0 means no limit
 * @throws PortcullisError RUNTIME_EXEC_TIMEOUT (kind deadline), RUNTIME_EXEC_CANCELLED, RUNTIME_EXEC_REFUSED
 * when the runtime could not start it, RUNTIME_EXEC_OUTPUT_TOO_LARGE when the answer would be incomplete,
 * RUNTIME_LAUNCHER_REPLACED, RUNTIME_BAD_WORKING_DIR when the container has changed something that the
 * command depends on
 */
export async function execSync(input: {
  readonly startProgram: StartProgram;
  readonly paths: Pick<HostPaths, 'checkPlace'>;
  readonly scopes: ExecScopes;
  readonly target: ExecTarget;
  readonly place: CommandPlace;
  readonly process: OciProcess;
  /**
   * Limits the output of all commands together. A command whose output exceeds it runs to its end, and the
   * call fails: the output that was kept is not the whole.
   */
  readonly sharedRoom: OutputRoom;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}): Promise<ExecResult> {
  const { target, scopes } = input;
  const files = await writeExecFiles(target.dir, 'exec', input.process);
  let scope: ExecScope | undefined;
  try {
    scope = await openExecScope(scopes, {
      container: target.id,
      name: files.name,
      init: target.init,
      takesCgroup: takesCgroup(target.handler),
    });
    return await run({ ...input, files, scope });
  } finally {
    await Promise.all([files.remove(), scope?.close()]);
  }
}

async function run(
  input: Parameters<typeof execSync>[0] & {
    readonly files: ExecFiles;
    readonly scope: ExecScope | undefined;
  },
): Promise<ExecResult> {
  const { startProgram, paths, target, place, files, scope, timeoutMs, signal } = input;
  const { id } = target;
  const room = openCommandRoom(input.sharedRoom);
  let overrun: ReturnType<CommandRoom['limit']> | undefined;
  const [stdout, stderr] = openOutputs(room, room, () => {
    overrun ??= room.limit();
    stdout.discard();
    stderr.discard();
    room.close();
  });
  let ending: 'timeout' | 'cancelled' | undefined;
  let timer: NodeJS.Timeout | undefined;
  let cancel: (() => void) | undefined;
  try {
    const command = await startCommand({
      startProgram,
      paths,
      target,
      place,
      files,
      scope,
      descriptors: [null, stdout.write, stderr.write],
      ...(timeoutMs > 0 && { timeoutMs }),
    });
    stdout.closeWrite();
    stderr.closeWrite();
    let killed: Promise<void> | undefined;
    const end = (why: 'timeout' | 'cancelled'): void => {
      ending ??= why;
      killed ??= command.kill();
    };
    cancel = () => end('cancelled');
    if (signal?.aborted === true) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    if (timeoutMs > 0) timer = setTimeout(end, Math.min(timeoutMs, longestTimer), 'timeout');
    const exitCode = await command.exited;
    clearTimeout(timer);
    await killed;
    if (ending !== undefined) throw execEnded(ending, id, timeoutMs);
    if (!files.started()) {
      const reason = await files.reason();
      throw execRefused(id, reason, processLimitOf(target.init, reason));
    }
    await Promise.all([stdout.ended(drainMs, quietMs), stderr.ended(drainMs, quietMs)]);
    if (exitCode === undefined) throw execLost(id);
    if (overrun !== undefined) throw outputTooLarge(id, overrun, exitCode);
    return { exitCode, stdout: stdout.bytes(), stderr: stderr.bytes() };
  } catch (cause) {
    throw asPortcullisError(cause, {
      code: 'RUNTIME_EXEC_FAILED',
      kind: 'internal',
      attempted: 'run a command in container',
      on: id.slice(0, 13),
      fix: 'check the runtime with `portcullis doctor`',
    });
  } finally {
    clearTimeout(timer);
    if (cancel !== undefined) signal?.removeEventListener('abort', cancel);
    stdout.close();
    stderr.close();
    room.close();
  }
}

/**
 * Returns the error for a command whose output is incomplete. containerd refuses such an answer too, because
 * it exceeds the largest message.
 */
function outputTooLarge(
  id: string,
  limit: ReturnType<CommandRoom['limit']>,
  exitCode: number,
): PortcullisError {
  const room =
    limit === 'answer'
      ? '16 MiB of an answer'
      : '64 MiB for the output of all commands that run at the same time';
  return failure(
    'RUNTIME_EXEC_OUTPUT_TOO_LARGE',
    'exhausted',
    'run a command in container',
    id.slice(0, 13),
    `the command ended with exit code ${exitCode}, but its output exceeds the ${room}`,
    'print less, write the output into a file, or use Exec, which has no limit',
  );
}

/** Returns the error for a command whose parent was killed before it by another process. */
export function execLost(id: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EXEC_LOST',
    kind: 'internal',
    attempted: 'run a command in container',
    on: id.slice(0, 13),
    why: 'the process that waited for the command was killed, so the exit code is lost',
    fix: 'run the command again; the kernel log shows what killed conmon',
  });
}

/**
 * System messages by which a runtime reports that it could not create a process: EAGAIN, ENOMEM, EMFILE
 * (errno(3)).
 */
const shortages: readonly (readonly [RegExp, string])[] = [
  [
    /resource temporarily unavailable|\bEAGAIN\b/i,
    'no process could be created: a limit of processes is reached',
  ],
  [/cannot allocate memory|\bENOMEM\b/i, 'no process could be created: there is no memory left'],
  [/too many open files|\bE[MN]FILE\b/i, 'no process could be created: no descriptor is free'],
];

/** The message of crun when one of its processes could not start another one, if there is a message. */
const silent = /^(?:fail startup)?$/u;

/**
 * Returns the limit of processes that stopped a command: a limit of the container, or one of the daemon, in
 * whose cgroup the runtime begins.
 * @param init the first process of the container
 * @param reason the message of the runtime
 */
export function processLimitOf(init: number, reason: string): string | undefined {
  return reachedProcessLimit(init) ?? (silent.test(reason.trim()) ? limitOfStarted() : undefined);
}

/** Messages of crun about its own state of a container. */
const lostState = /^(?:cannot parse status file|error opening file `[^`]*\/status`)/u;

/**
 * Returns a description of the resource that ran out when a runtime could not start a command. Undefined if
 * the reason was something else.
 */
export function shortageIn(reason: string, limit?: string): string | undefined {
  if (limit !== undefined) return `no process could be created: ${limit}`;
  return shortages.find(([words]) => words.test(reason))?.[1];
}

/** Messages of crun and runc about a process that cannot get the AppArmor label for its next exec. */
const noLabel = /\/attr\/(?:apparmor\/)?exec`?: no such file or directory/iu;

/** Messages of runc and crun. */
const paused = /in a paused container|^the container `[^`]*` is paused/u;

/**
 * Returns the error for a command that the runtime could not start, with the runtime's own message.
 * @param limit the limit of processes that is reached, see {@link processLimitOf}
 */
export function execRefused(id: string, reason: string, limit?: string): PortcullisError {
  const shortage = shortageIn(reason, limit);
  if (shortage !== undefined)
    return new PortcullisError({
      code: 'RUNTIME_EXEC_NO_PROCESS',
      kind: 'exhausted',
      attempted: 'run a command in container',
      on: id.slice(0, 13),
      why: `${shortage}${reason === '' ? '' : `: ${reason.slice(0, 2_000)}`}`,
      fix:
        limit === undefined
          ? 'compare pids.current and memory of the container’s cgroup with their limits, and those of its pod and of the machine (kernel.pid_max)'
          : 'raise this limit, or find out why so many processes run there',
    });
  const refused = (why: string, fix: string): PortcullisError =>
    failure('RUNTIME_EXEC_REFUSED', 'precondition', 'run a command in container', id.slice(0, 13), why, fix);
  // The option that runc proposes would let the command wait in the frozen container.
  if (paused.test(reason))
    return refused(
      'the container is frozen, as it is while its checkpoint is written',
      'repeat the command when the checkpoint is complete, or thaw the cgroup of the container',
    );
  if (noLabel.test(reason))
    return refused(
      'the AppArmor profile of the container was unloaded, so that the processes of the container are unconfined',
      'create a new container, and find the program that unloads profiles on this node, such as aa-remove-unknown or aa-teardown',
    );
  if (lostState.test(reason))
    return refused(
      `the runtime’s state of the container is damaged or gone: ${reason.slice(0, 2_000)}`,
      'check the disk, and create a new container',
    );
  return refused(
    reason === '' ? 'the runtime could not start it and did not say why' : reason.slice(0, 2_000),
    'check the command: the program, its folder and its permissions are those inside the container',
  );
}

function execEnded(why: 'timeout' | 'cancelled', id: string, timeoutMs: number): PortcullisError {
  return new PortcullisError(
    why === 'timeout'
      ? {
          code: 'RUNTIME_EXEC_TIMEOUT',
          kind: 'deadline',
          attempted: 'run a command in container',
          on: id.slice(0, 13),
          why: `command timed out: it did not end within ${timeoutMs / 1000} s and was killed`,
          fix: 'give it more time, or find out why it hangs',
        }
      : {
          code: 'RUNTIME_EXEC_CANCELLED',
          kind: 'cancelled',
          attempted: 'run a command in container',
          on: id.slice(0, 13),
          why: 'the caller gave up, and the command was killed',
          fix: 'call again',
        },
  );
}

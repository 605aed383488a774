import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '../../base/errors/index.ts';
import { adoptTerminal, closeFd, openPipe, setWindowSize } from '../../base/kernel/index.ts';
import type { Pipe } from '../../base/kernel/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { commandPlace } from '../oci/command-paths.ts';
import type { CommandPlace } from '../oci/command-paths.ts';
import { processLimitOf, shortageIn } from '../oci/exec.ts';
import { readPidToKill, writeExecFiles } from '../oci/exec-files.ts';
import type { ExecFiles } from '../oci/exec-files.ts';
import { openExecScope } from '../oci/exec-scope.ts';
import type { ExecScope, ExecScopes } from '../oci/exec-scope.ts';
import { detachedFrom } from '../oci/exec-session.ts';
import { commandArguments } from '../oci/launched-command.ts';
import { readContainerSpec } from '../oci/container-spec.ts';
import type { OciProcess, OciSpec } from '../oci/spec.types.ts';
import { startCommand, takesCgroup } from '../oci/start-command.ts';
import type { StartedCommand } from '../oci/start-command.ts';
import type { CommandStreams } from './command-streams.ts';
import { openConsoleSocket } from './console-socket.ts';
import type { Outcome } from './outcome.ts';
import type { ExecPlan } from './plan.ts';
import { pumpInput, pumpOutput } from './pumps.ts';
import type { OutputPump } from './pumps.ts';

/** The maximum time for the processes in a terminal to end after a hangup. */
const hangupMs = 1_000;

/** A command may have ended before the event that delivers its terminal. */
const lateMasterMs = 250;

export interface ExecDeps {
  readonly startProgram: StartProgram;
  readonly paths: Pick<HostPaths, 'checkPlace'>;
  readonly scopes: ExecScopes;
  readonly socketFolder: string;
}

/** A started command whose streams are being copied. */
interface Session {
  readonly command: StartedCommand;
  readonly outputs: readonly OutputPump[];
  /** Does what happens when the client's terminal is switched off. */
  hangUp(): void;
}

/**
 * Runs a command in a running container, with the container's own confinement, and connects it to the
 * client's streams. When the client disconnects, the command is killed with every process that it started,
 * except processes that a user has deliberately detached from the session.
 */
export async function runExec(plan: ExecPlan, streams: CommandStreams, deps: ExecDeps): Promise<Outcome> {
  const { target } = plan;
  let files: ExecFiles | undefined;
  let scope: ExecScope | undefined;
  try {
    const spec = await readContainerSpec(target.dir, target.id);
    files = await writeExecFiles(target.dir, 'stream', describe(plan, spec));
    scope = await openExecScope(deps.scopes, {
      container: target.id,
      name: files.name,
      init: target.init,
      takesCgroup: takesCgroup(target.handler),
    });
    const session = await (plan.streams.tty && !target.handler.isShim ? startOnTerminal : startOnPipes)(
      plan,
      streams,
      {
        ...deps,
        place: commandPlace(spec),
        files,
        scope,
      },
    );
    return await overseeSession(session, target.init, files, streams);
  } catch (cause) {
    return { kind: 'failure', why: `error executing command in container: ${reasonOf(cause)}` };
  } finally {
    await scope?.close();
    await files?.remove();
  }
}

async function overseeSession(
  { command, outputs, hangUp }: Session,
  init: number,
  files: ExecFiles,
  streams: CommandStreams,
): Promise<Outcome> {
  let killed: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    const leader = await readPidToKill(files.pid);
    const detached = leader === undefined ? undefined : detachedFrom(leader);
    hangUp();
    await Promise.race([command.exited, pause(hangupMs, undefined, { ref: false })]);
    await command.kill(detached);
  };
  const onGone = (): void => void (killed ??= end());
  streams.gone.addEventListener('abort', onGone);
  if (streams.gone.aborted) onGone();
  const code = await command.exited;
  // Processes that still run from here on were left behind on purpose, and stay.
  streams.gone.removeEventListener('abort', onGone);
  await killed;
  await Promise.all(outputs.map((output) => output.settle()));
  hangUp();
  if (!files.started()) return refused(files, init);
  if (code === undefined)
    return { kind: 'failure', why: 'error executing command in container: its exit code is lost' };
  return code === 0 ? { kind: 'success' } : { kind: 'exit', code };
}

async function refused(files: ExecFiles, init: number): Promise<Outcome> {
  const reason = await files.reason();
  const shortage = shortageIn(reason, processLimitOf(init, reason));
  const why =
    reason === ''
      ? (shortage ?? 'the runtime did not say why')
      : `${reason}${shortage === undefined ? '' : ` (${shortage})`}`;
  return { kind: 'failure', why: `error executing command in container: ${why}` };
}

/**
 * Returns the container's own process description (runtime-spec config.md, "process"), with another command.
 */
function describe({ command, streams }: ExecPlan, spec: OciSpec): OciProcess {
  const { env } = spec.process;
  const terminal = streams.tty && !env.some((entry) => entry.startsWith('TERM=')) ? ['TERM=xterm'] : [];
  return {
    ...spec.process,
    terminal: streams.tty,
    args: commandArguments(spec, command),
    env: [...env, ...terminal],
  };
}

type StartDeps = ExecDeps & {
  readonly place: CommandPlace;
  readonly files: ExecFiles;
  readonly scope: ExecScope | undefined;
};

async function startOnPipes(
  { target, streams: asked }: ExecPlan,
  streams: CommandStreams,
  deps: StartDeps,
): Promise<Session> {
  const opened: Pipe[] = [];
  const pipe = (wanted: boolean): Pipe | undefined => {
    if (!wanted) return undefined;
    try {
      const one = openPipe();
      opened.push(one);
      return one;
    } catch (cause) {
      for (const { read, write } of opened) for (const fd of [read, write]) closeFd(fd);
      throw cause;
    }
  };
  const [stdin, stdout, stderr] = [pipe(asked.stdin), pipe(asked.stdout), pipe(asked.stderr)];
  const ours: Socket[] = [];
  const theirs = [stdin?.read ?? null, stdout?.write ?? null, stderr?.write ?? null] as const;
  let command: StartedCommand;
  const input =
    stdin === undefined ? undefined : new Socket({ fd: stdin.write, readable: false, writable: true });
  const [output, errors] = [stdout, stderr].map(
    (one) => one && new Socket({ fd: one.read, readable: true, writable: false }),
  );
  for (const socket of [input, output, errors])
    if (socket !== undefined) ours.push(socket.on('error', () => socket.destroy()));
  try {
    command = await startCommand({ ...deps, target, descriptors: theirs, terminal: asked.tty });
  } catch (cause) {
    for (const socket of ours) socket.destroy();
    throw cause;
  } finally {
    for (const fd of theirs) if (fd !== null) closeFd(fd);
  }
  if (input !== undefined && streams.stdin !== undefined) pumpInput(streams.stdin, input);
  if (command.resize !== undefined) streams.onResize(command.resize);
  // Only the status reports the runtime's own message about a command that it cannot start.
  const started = startOf(command, deps.files);
  const outputs = [
    output && pumpOutput(output, streams.stdout),
    errors && pumpOutput(errors, streams.stderr, started),
  ];
  return {
    command,
    outputs: outputs.filter((one) => one !== undefined),
    hangUp: () => {
      for (const socket of ours) socket.destroy();
    },
  };
}

/**
 * Resolves when the runtime has started the command, or when the command has ended. Returns whether it was
 * started.
 */
async function startOf(command: StartedCommand, files: ExecFiles): Promise<boolean> {
  let over = false;
  void command.exited.then(() => (over = true));
  const isOver = (): boolean => over;
  while (!files.started() && !isOver()) await pause(3);
  return files.started();
}

async function startOnTerminal(
  { target }: ExecPlan,
  streams: CommandStreams,
  deps: StartDeps,
): Promise<Session> {
  const terminal = await openConsoleSocket(deps.socketFolder);
  try {
    const command = await startCommand({
      ...deps,
      target,
      descriptors: [null, null, null],
      consoleSocket: terminal.path,
    });
    const master = await Promise.race([
      terminal.master,
      command.exited.then(() => Promise.race([terminal.master, pause(lateMasterMs)])),
    ]);
    if (master === undefined) return { command, outputs: [], hangUp: () => undefined };
    const { output, input, fd } = adoptTerminal(master, command.exited);
    if (streams.stdin !== undefined) pumpKeys(streams.stdin, input);
    const pump = pumpOutput(output, streams.stdout, startOf(command, deps.files));
    streams.onResize((size) => {
      if (!input.destroyed) setWindowSize(fd, size);
    });
    return { command, outputs: [pump], hangUp: () => input.destroy() };
  } finally {
    await terminal.close();
  }
}

/** A terminal has no end of input: a client that closes its input leaves the command running. */
function pumpKeys(source: NonNullable<CommandStreams['stdin']>, terminal: Writable): void {
  source.on('data', (chunk: Buffer) => {
    if (terminal.writable && !terminal.write(chunk)) source.pause();
  });
  terminal.on('drain', () => source.resume());
  terminal.on('close', () => source.resume());
}

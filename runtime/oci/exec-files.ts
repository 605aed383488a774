import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  PortcullisError,
  meansGone,
  meansNoSuchPath,
  meansShortage,
  reasonOf,
} from '../../base/errors/index.ts';
import { writeNewFile } from '../../base/files/index.ts';
import { processIdentity } from '../../base/process/index.ts';
import { openExecScope } from './exec-scope.ts';
import { lastMessage, withExecutable } from './runtime-message.ts';
import type { ExecScopes } from './exec-scope.ts';
import { detachedFrom, killGroup } from './exec-session.ts';
import { endTaskCommand } from '../shim/exec.ts';
import type { OciProcess } from './spec.types.ts';

/**
 * `exec`: ExecSync, whose caller waits for the command. `stream`: a session, in which a user may deliberately
 * leave processes running.
 */
type ExecKind = 'exec' | 'stream';

/**
 * The files that exist in the container's folder while a command runs. The next daemon uses them to end the
 * command.
 */
export interface ExecFiles {
  /** The name of the command and of its cgroup. Unique in the container. */
  readonly name: string;
  readonly spec: string;
  /** The content of `spec`. */
  readonly description: string;
  readonly pid: string;
  readonly log: string;
  /** The file to which conmon writes its pid, if conmon is the parent. */
  readonly monitor: string;
  /** Returns the error that the runtime reported for a command that it could not start. */
  reason(): Promise<string>;
  /** Records that a shim has started the command: its pid may belong to a PID namespace inside a sandbox. */
  markStarted(): Promise<void>;
  /** Records the reason for which a shim did not start the command. */
  refuse(reason: string): void;
  /** Reports whether the runtime started the command (it writes the pid file just before). */
  started(): boolean;
  remove(): Promise<void>;
}

const fileName = /^((exec|stream)-\d+-\d+)\.(json|pid|log|monitor|started)$/;
let serial = 0;

/** Writes the process description (runtime-spec config.md, "process") of a command. */
export async function writeExecFiles(
  dir: string,
  kind: ExecKind,
  description: OciProcess,
): Promise<ExecFiles> {
  serial += 1;
  const name = `${kind}-${process.pid}-${serial}`;
  const files = filesOf(dir, name, JSON.stringify(description), description.args[0]);
  await writeNewFile(files.spec, files.description, { mode: 0o600 });
  return files;
}

function filesOf(dir: string, name: string, description = '', program?: string): ExecFiles {
  const base = join(dir, name);
  const [spec, pid, log, monitor] = [`${base}.json`, `${base}.pid`, `${base}.log`, `${base}.monitor`];
  const inShim = `${base}.started`;
  let refusal: string | undefined;
  return {
    name,
    spec,
    description,
    pid,
    log,
    monitor,
    markStarted: () => writeFile(inShim, '', { mode: 0o600 }),
    refuse: (reason) => {
      refusal = reason;
    },
    reason: async () =>
      refusal ?? withExecutable(lastMessage(await readFile(log, 'utf8').catch(() => '')), program),
    started: () => readPid(pid) !== undefined || existsSync(inShim),
    remove: async () => {
      await Promise.all([spec, pid, log, monitor, inShim].map((file) => rm(file, { force: true })));
    },
  };
}

/**
 * Returns the pid that a runtime has written. Undefined if it has not written one yet.
 * @throws PortcullisError RUNTIME_EXEC_UNREADABLE when the file cannot be read
 */
export function readPid(file: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if (meansGone(cause)) return undefined;
    throw new PortcullisError({
      code: 'RUNTIME_EXEC_UNREADABLE',
      kind: meansShortage(cause) ? 'exhausted' : 'unavailable',
      attempted: 'read the process id of a command',
      on: file,
      why: reasonOf(cause),
      fix: 'check whether the daemon has free descriptors (`LimitNOFILE`) and memory; the request can be repeated',
      cause,
    });
  }
  const pid = Number(text);
  return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
}

const unreadableMs = 1_000;

/**
 * Like {@link readPid}, for ending a command: retries a failed read for a second, then treats the pid as
 * unknown.
 */
export async function readPidToKill(file: string): Promise<number | undefined> {
  for (let waited = 0; ; waited += 50)
    try {
      return readPid(file);
    } catch {
      if (waited >= unreadableMs) return undefined;
      await pause(50);
    }
}

/** How long the start of the daemon waits for the end of commands in a shim, which may not answer. */
const shimMs = 2_000;

/**
 * Ends the commands that were running in a container when a daemon was killed, because no client waits for
 * them any more, and removes their files. Processes that a session's user has detached keep running.
 */
export async function endLeftoverExecs(
  scopes: ExecScopes,
  container: {
    readonly id: string;
    readonly dir: string;
    readonly init: number | undefined;
    readonly takesCgroup: boolean;
    /** Whether the container is a task of a shim. */
    readonly isShim: boolean;
  },
): Promise<void> {
  const names = (await readdir(container.dir).catch(unlessMissing)).flatMap(
    (file) => fileName.exec(file)?.[1] ?? [],
  );
  if (container.isShim) {
    const ends = [...new Set(names)].map(async (name) => {
      // Without its shim the command has ended.
      await endTaskCommand(container.id, container.dir, name).catch(() => undefined);
      await filesOf(container.dir, name).remove();
    });
    const late = new Promise<void>((resolve) => setTimeout(resolve, shimMs).unref());
    await Promise.race([Promise.all(ends), late]);
    return;
  }
  for (const name of new Set(names)) {
    const files = filesOf(container.dir, name);
    const runtime = runtimeWith(files.pid);
    const command = readPid(files.pid);
    const scope =
      container.init === undefined
        ? undefined
        : await openExecScope(scopes, {
            container: container.id,
            name,
            init: container.init,
            takesCgroup: container.takesCgroup,
          });
    const spare = name.startsWith('stream') && command !== undefined ? detachedFrom(command) : undefined;
    const end = async (but: number): Promise<void> => {
      // The pid is certain to be the command's only while the runtime lives.
      if (but !== 0 && command !== undefined) killGroup(command, spare);
      await scope?.kill(but, spare);
    };
    await end(runtime ?? 0);
    if (runtime !== undefined) {
      for (let waited = 0; waited < 500 && processIdentity(runtime) !== undefined; waited += 10)
        await pause(10);
      if (processIdentity(runtime) !== undefined) process.kill(runtime, 'SIGKILL');
      await end(0);
    }
    await scope?.close();
    await files.remove();
  }
}

/** Handles a failed listing: only a folder that does not exist has no files of commands. */
function unlessMissing(cause: unknown): string[] {
  if (meansNoSuchPath(cause)) return [];
  throw cause;
}

/** Returns the process of the runtime, or of conmon, that was asked to write this pid file. */
function runtimeWith(pidFile: string): number | undefined {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(pidFile);
      } catch (cause) {
        if (meansGone(cause)) return false;
        throw cause;
      }
    });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

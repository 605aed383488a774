import { readFileSync, readdirSync } from 'node:fs';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { meansGone, meansShortage, processIdentity } from '../../base/process/index.ts';
import { openExecScope } from './exec-scope.ts';
import type { ExecScopes } from './exec-scope.ts';
import { detachedFrom, killGroup } from './exec-session.ts';
import type { OciProcess } from './spec.types.ts';

/** `exec`: ExecSync, whose caller waits for it. `stream`: a session, in which a user may leave something behind on purpose. */
type ExecKind = 'exec' | 'stream';

/** What is on disk while a command is under way, in its container's folder: so that the next daemon can end it. */
export interface ExecFiles {
  /** Also of its cgroup. Unique in the container. */
  readonly name: string;
  readonly spec: string;
  /** What is in `spec`. */
  readonly description: string;
  readonly pid: string;
  readonly log: string;
  /** Where conmon, if it is the parent, writes its pid. */
  readonly monitor: string;
  /** What the runtime said of a command that it could not start. */
  reason(): Promise<string>;
  /** Whether the runtime started the command (it writes the pid file just before). */
  started(): boolean;
  remove(): Promise<void>;
}

const fileName = /^((exec|stream)-\d+-\d+)\.(json|pid|log|monitor)$/;
let serial = 0;

/** Writes the process description (runtime-spec config.md, "process") of a command. */
export async function writeExecFiles(dir: string, kind: ExecKind, description: OciProcess): Promise<ExecFiles> {
  serial += 1;
  const files = filesOf(dir, `${kind}-${process.pid}-${serial}`, JSON.stringify(description));
  await writeFile(files.spec, files.description, { mode: 0o600 });
  return files;
}

function filesOf(dir: string, name: string, description = ''): ExecFiles {
  const base = join(dir, name);
  const [spec, pid, log, monitor] = [`${base}.json`, `${base}.pid`, `${base}.log`, `${base}.monitor`];
  return {
    name,
    spec,
    description,
    pid,
    log,
    monitor,
    reason: async () => lastMessage(await readFile(log, 'utf8').catch(() => '')),
    started: () => readPid(pid) !== undefined,
    remove: async () => {
      await Promise.all([spec, pid, log, monitor].map((file) => rm(file, { force: true })));
    },
  };
}

/**
 * The pid that a runtime has written; undefined: none yet.
 * @throws PortcullisError RUNTIME_EXEC_UNREADABLE when that cannot be read
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
      fix: 'see whether the daemon has free descriptors (`LimitNOFILE`) and memory; the request can be repeated',
      cause,
    });
  }
  const pid = Number(text);
  return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
}

const unreadableMs = 1_000;

/** {@link readPid} for what must end a command: what cannot be read is read again for a second, and is unknown then. */
export async function readPidToKill(file: string): Promise<number | undefined> {
  for (let waited = 0; ; waited += 50)
    try {
      return readPid(file);
    } catch {
      if (waited >= unreadableMs) return undefined;
      await pause(50);
    }
}

/** crun writes plain text, runc logfmt; what counts is the last line. */
function lastMessage(log: string): string {
  const line = log.trim().split('\n').at(-1) ?? '';
  const quoted = /msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1];
  return quoted === undefined ? line : quoted.replace(/\\(.)/g, '$1');
}

/**
 * Ends the commands that were under way in a container when a daemon was killed (nobody waits for them any more), and removes
 * what it kept of them. What a session's user had detached stays.
 */
export async function endLeftoverExecs(
  scopes: ExecScopes,
  container: { readonly id: string; readonly dir: string; readonly init: number | undefined; readonly takesCgroup: boolean },
): Promise<void> {
  const names = (await readdir(container.dir).catch(() => [])).flatMap((file) => fileName.exec(file)?.[1] ?? []);
  for (const name of new Set(names)) {
    const files = filesOf(container.dir, name);
    const runtime = runtimeWith(files.pid);
    const command = readPid(files.pid);
    const scope =
      container.init === undefined
        ? undefined
        : await openExecScope(scopes, { container: container.id, name, init: container.init, takesCgroup: container.takesCgroup });
    const spare = name.startsWith('stream') && command !== undefined ? detachedFrom(command) : undefined;
    const end = async (but: number): Promise<void> => {
      // Only while the runtime lives is the pid known to be the command's.
      if (but !== 0 && command !== undefined) killGroup(command, spare);
      await scope?.kill(but, spare);
    };
    await end(runtime ?? 0);
    if (runtime !== undefined) {
      for (let waited = 0; waited < 500 && processIdentity(runtime) !== undefined; waited += 10) await pause(10);
      if (processIdentity(runtime) !== undefined) process.kill(runtime, 'SIGKILL');
      await end(0);
    }
    await scope?.close();
    await files.remove();
  }
}

/** The process of the runtime, or of conmon, that was told to write this pid file. */
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

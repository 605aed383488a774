import { readFileSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, asPortcullisError } from '../../base/errors/index.ts';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { openOutput } from './output.ts';
import type { RuntimeHandler } from './runtime-handler.ts';
import type { OciProcess } from './spec.types.ts';

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** Bytes kept of both streams: an answer of more than 16 MiB no client takes. What comes after is read and dropped, so that the process does not stall. */
const outputLimit = 16 * 1024 * 1024 - 4096;
/** How long grandchildren that hold the pipes may keep an answer back after the command's own exit. */
const drainMs = 1_000;
const SIGKILL = 9;
let serial = 0;

/**
 * Runs a command in a running container and waits for it, with the container's own confinement.
 * @param input.timeoutMs 0: no limit
 * @param input.dir a private folder for the process description
 * @throws PortcullisError RUNTIME_EXEC_TIMEOUT (kind deadline), RUNTIME_EXEC_FAILED when the runtime could not start it
 */
export async function execSync(input: {
  readonly startProgram: StartProgram;
  readonly handler: RuntimeHandler;
  readonly id: string;
  readonly process: OciProcess;
  readonly dir: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}): Promise<ExecResult> {
  serial += 1;
  const base = join(input.dir, `exec-${process.pid}-${serial}`);
  const [specFile, pidFile] = [`${base}.json`, `${base}.pid`];
  await writeFile(specFile, JSON.stringify(input.process), { mode: 0o600 });
  try {
    return await run({ ...input, specFile, pidFile });
  } finally {
    await Promise.all([rm(specFile, { force: true }), rm(pidFile, { force: true })]);
  }
}

/** Removes what commands that were under way when a daemon was killed have left in `dir`. */
export async function dropExecFiles(dir: string): Promise<void> {
  const names = await readdir(dir).catch(() => []);
  await Promise.all(names.filter((name) => /^exec-\d+-\d+\.(json|pid)$/.test(name)).map((name) => rm(join(dir, name), { force: true })));
}

async function run(input: Parameters<typeof execSync>[0] & { readonly specFile: string; readonly pidFile: string }): Promise<ExecResult> {
  const { startProgram, handler, id, specFile, pidFile, timeoutMs, signal } = input;
  const room = { bytes: outputLimit };
  const [stdout, stderr] = [openOutput(room), openOutput(room)];
  let ending: 'timeout' | 'cancelled' | undefined;
  let timer: NodeJS.Timeout | undefined;
  let cancel: (() => void) | undefined;
  try {
    const args = [...handler.globalArgs, 'exec', '--process', specFile, '--pid-file', pidFile, id];
    const child = await startProgram({
      path: handler.path,
      argv: [handler.name, ...args],
      env: { ...process.env },
      descriptors: [null, stdout.write, stderr.write],
    });
    stdout.closeWrite();
    stderr.closeWrite();
    const end = (why: 'timeout' | 'cancelled'): void => {
      ending ??= why;
      // The runtime's own process must live on to reap the command, else a zombie stays in the container for good.
      const found = killGroup(pidFile);
      setTimeout(() => child.kill(SIGKILL), found ? drainMs : 0).unref();
    };
    cancel = () => end('cancelled');
    signal?.addEventListener('abort', cancel, { once: true });
    if (timeoutMs > 0) timer = setTimeout(end, timeoutMs, 'timeout');
    const exitCode = await child.exited;
    await Promise.all([stdout.ended(drainMs), stderr.ended(drainMs)]);
    if (ending !== undefined) throw execEnded(ending, id, timeoutMs);
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
  }
}

/** Kills the command, which leads a process group of its own (the runtime calls setsid). Whether it was there. */
function killGroup(pidFile: string): boolean {
  let pid: number;
  try {
    pid = Number(readFileSync(pidFile, 'utf8'));
  } catch {
    return false;
  }
  const identity = Number.isSafeInteger(pid) && pid > 1 ? processIdentity(pid) : undefined;
  if (identity === undefined || !sameProcess(identity)) return false;
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, 'SIGKILL');
    } catch {
      // Gone already, or no group of its own.
    }
  }
  return true;
}

function execEnded(why: 'timeout' | 'cancelled', id: string, timeoutMs: number): PortcullisError {
  return new PortcullisError(
    why === 'timeout'
      ? {
          code: 'RUNTIME_EXEC_TIMEOUT',
          kind: 'deadline',
          attempted: 'run a command in container',
          on: id.slice(0, 13),
          why: `command timed out: it had not ended after ${timeoutMs / 1000} s and was killed`,
          fix: 'give it more time, or see why it hangs',
        }
      : {
          code: 'RUNTIME_EXEC_CANCELLED',
          kind: 'cancelled',
          attempted: 'run a command in container',
          on: id.slice(0, 13),
          why: 'the caller gave up; the command was killed',
          fix: 'call again',
        },
  );
}

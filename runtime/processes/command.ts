import { basename } from 'node:path';
import { PortcullisError, leavesUnknown, reasonOf } from '../../base/errors/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import { openOutputs } from '../../base/kernel/index.ts';

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

const SIGKILL = 9;
const outputLimit = 64 * 1024;
/**
 * The output that a command wrote before its end is already in the pipe. Output that its children write later
 * does not belong to the command.
 */
const drainMs = 5;

/**
 * Runs a short program until it exits. Does not wait for the end of its output, because a runtime's children
 * may hold the pipes forever.
 * @param program an absolute path
 * @param options.timeoutMs after this time the program gets SIGKILL, and the call fails with
 * RUNTIME_COMMAND_TIMEOUT
 * @param options.name the program in errors. Default: its path
 * @param options.signal kills the program, and fails the call with its reason
 * @throws PortcullisError RUNTIME_COMMAND_NOT_STARTED | RUNTIME_COMMAND_TIMEOUT
 */
export async function runCommand(
  startProgram: StartProgram,
  program: string,
  args: readonly string[],
  options: {
    readonly timeoutMs?: number;
    readonly signal?: AbortSignal | undefined;
    readonly name?: string;
  } = {},
): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const [stdout, stderr] = openOutputs({ bytes: outputLimit }, { bytes: outputLimit });
  const limit = { reached: false };
  const { name = program } = options;
  let timer: NodeJS.Timeout | undefined;
  try {
    const child = await start(startProgram, { program, name }, args, [null, stdout.write, stderr.write]);
    stdout.closeWrite();
    stderr.closeWrite();
    timer = setTimeout(() => {
      limit.reached = true;
      child.kill(SIGKILL);
    }, timeoutMs);
    const abort = (): void => child.kill(SIGKILL);
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted === true) abort();
    const exitCode = await child.exited;
    options.signal?.removeEventListener('abort', abort);
    await Promise.all([stdout.ended(drainMs), stderr.ended(drainMs)]);
    // The timeout may be noticed before an exit that happened earlier: a program that ended by itself has
    // answered.
    if (exitCode === 128 + SIGKILL) options.signal?.throwIfAborted();
    if (limit.reached && exitCode === 128 + SIGKILL)
      throw failed(
        'RUNTIME_COMMAND_TIMEOUT',
        name,
        args,
        `it did not end within ${timeoutMs} ms`,
        'check whether the machine is overloaded, then retry',
        'deadline',
      );
    return { exitCode, stdout: stdout.bytes().toString('utf8'), stderr: stderr.bytes().toString('utf8') };
  } finally {
    clearTimeout(timer);
    stdout.close();
    stderr.close();
  }
}

async function start(
  startProgram: StartProgram,
  { program, name }: { readonly program: string; readonly name: string },
  args: readonly string[],
  descriptors: readonly (number | null)[],
): Promise<Child> {
  try {
    return await startProgram({
      path: program,
      argv: [basename(program), ...args],
      env: { ...process.env },
      descriptors,
    });
  } catch (cause) {
    const isShort = leavesUnknown(cause);
    throw failed(
      'RUNTIME_COMMAND_NOT_STARTED',
      name,
      args,
      reasonOf(cause),
      isShort
        ? 'repeat the request; check whether the node has free memory, processes and descriptors'
        : 'check that the program is installed and executable',
      isShort ? 'exhausted' : 'internal',
    );
  }
}

function failed(
  code: string,
  program: string,
  args: readonly string[],
  why: string,
  fix: string,
  kind: 'deadline' | 'exhausted' | 'internal',
): PortcullisError {
  return new PortcullisError({
    code,
    kind,
    attempted: 'run',
    on: [program, ...args.slice(-2)].join(' '),
    why,
    fix,
  });
}

import { spawn } from 'node:child_process';
import { PortcullisError } from '../../base/errors/index.ts';

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a short program to its end. Waits for its exit and not for the end of its output: a runtime's children may hold the pipes for ever.
 * @param options.timeoutMs then SIGKILL, and RUNTIME_COMMAND_TIMEOUT
 * @throws PortcullisError RUNTIME_COMMAND_NOT_STARTED | RUNTIME_COMMAND_TIMEOUT
 */
export function runCommand(
  program: string,
  args: readonly string[],
  options: { readonly timeoutMs?: number; readonly cwd?: string } = {},
): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(options.cwd !== undefined && { cwd: options.cwd }) });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8');
      child[stream].on('data', (text: string) => {
        if (output[stream].length < 65_536) output[stream] += text;
      });
    }
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.once('error', (cause) => {
      clearTimeout(timer);
      reject(failed('RUNTIME_COMMAND_NOT_STARTED', program, args, cause.message, 'check that the program is installed and executable'));
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      // What was written before the exit is in the pipe already: one turn reads it.
      setImmediate(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        if (timedOut)
          reject(
            failed(
              'RUNTIME_COMMAND_TIMEOUT',
              program,
              args,
              `no answer in ${timeoutMs} ms`,
              'see whether the machine is overloaded, then retry',
            ),
          );
        else resolve({ exitCode: code ?? 128 + signalNumber(signal), ...output });
      });
    });
  });
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === 'SIGKILL' ? 9 : signal === 'SIGTERM' ? 15 : 1;
}

function failed(code: string, program: string, args: readonly string[], why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code,
    kind: code.endsWith('TIMEOUT') ? 'deadline' : 'internal',
    attempted: 'run',
    on: `${program} ${args.at(-2) ?? ''} ${args.at(-1) ?? ''}`.trim(),
    why,
    fix,
  });
}

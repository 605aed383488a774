import { spawn } from 'node:child_process';
import { once } from 'node:events';

const mark = 'PORTCULLIS_CHAOS_APART';

export function isApart(): boolean {
  return process.env[mark] === '1';
}

/**
 * Runs a program of this folder in a mount and a network namespace of its own, with private mounts as
 * unshare(1) leaves them: the daemon has to make its folders shared mounts itself there. Resolves with its
 * exit code; passes its output to `tell`.
 */
export async function runApart(
  file: string,
  args: readonly string[],
  report: (text: string) => void,
): Promise<number> {
  const child = spawn('unshare', ['-m', '-n', '--', process.execPath, file, ...args], {
    // The child's input ends when this process does, for whatever reason.
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, [mark]: '1', NODE_TEST_CONTEXT: undefined, NODE_V8_COVERAGE: undefined },
  });
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', report);
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, forward);
  const [code] = (await once(child, 'close')) as [number | null];
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, forward);
  return code ?? 130;
}

/**
 * Runs `leave` once, when the starting process is gone or when a signal asks to end. Called in the separate
 * process.
 */
export function whenToldToEnd(leave: () => void): void {
  let reported = false;
  const once = (): void => {
    if (!reported) leave();
    reported = true;
  };
  process.stdin.resume().on('end', once).on('error', once);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, once);
}

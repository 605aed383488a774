import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { once } from 'node:events';
import { Socket } from 'node:net';

/** Environment variable that marks the process in its own namespaces. */
const mark = 'PORTCULLIS_QUICKSTART_APART';
/** Descriptor over which that process reports that it stays (`--keep`). */
const stayDescriptor = 3;

export function isInOwnNamespaces(): boolean {
  return process.env[mark] === '1';
}

/**
 * Runs this same command in its own network and mount namespaces (unshare(1)) and returns its exit code; 0 as
 * soon as it reports that it stays. Its standard input ends when this process ends, in every case.
 */
export async function runInOwnNamespaces(): Promise<number> {
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', ['--mount', '--net', '--propagation', 'private', '--', ...command], {
    // It has its own session, so that this process forwards a Ctrl-C exactly once.
    detached: true,
    stdio: ['pipe', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, [mark]: '1' },
  });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, forward);
  const stays = once(child.stdio[stayDescriptor] as Socket, 'data').then(() => 0);
  const ends = once(child, 'exit').then(([code]) => (code as number | null) ?? 130);
  const code = await Promise.race([stays, ends]);
  child.unref();
  for (const stream of child.stdio) stream?.destroy();
  return code;
}

/**
 * Called in the separate process. `onEnd` runs when the starting process is gone, or when a signal asks to
 * end.
 */
export function onEndSignal(onEnd: () => void): { readonly staying: () => void; readonly deaf: () => void } {
  let stays = false;
  process.stdin.resume().on('end', () => {
    if (!stays) onEnd();
  });
  process.stdin.on('error', () => undefined);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onEnd);
  return {
    staying: () => {
      stays = true;
      letGoOfTerminal();
    },
    // A standard input with a listener keeps the process alive.
    deaf: () => void process.stdin.destroy(),
  };
}

/** No process waits for our output any more. Close it, so that readers see its end. */
function letGoOfTerminal(): void {
  process.stdin.destroy();
  new Socket({ fd: stayDescriptor, readable: false, writable: true }).end('stays\n');
  for (const descriptor of [1, 2]) closeSync(descriptor);
  for (const flags of ['w', 'w']) openSync('/dev/null', flags);
}

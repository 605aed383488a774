import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { once } from 'node:events';
import { Socket } from 'node:net';

/** Set in the process that runs apart. */
const mark = 'PORTCULLIS_QUICKSTART_APART';
/** Over this descriptor the process apart says that it stays (`--keep`). */
const stayDescriptor = 3;

export function isApart(): boolean {
  return process.env[mark] === '1';
}

/**
 * Runs this very command in a network and a mount namespace of its own (unshare(1)) and returns its exit code; 0 as soon as it
 * says that it stays. Its standard input ends when this process does, however that happens.
 */
export async function runApart(): Promise<number> {
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', ['--mount', '--net', '--propagation', 'private', '--', ...command], {
    // A session of its own: a Ctrl-C reaches it through us, once.
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

/** Called apart: `onEnd` runs when the starting process is gone, or when a signal asks to end. */
export function whenToldToEnd(onEnd: () => void): { readonly staying: () => void; readonly deaf: () => void } {
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
    // A standard input that is listened to keeps the process alive.
    deaf: () => void process.stdin.destroy(),
  };
}

/** Nobody waits for our output any more: whoever reads it sees its end. */
function letGoOfTerminal(): void {
  process.stdin.destroy();
  new Socket({ fd: stayDescriptor, readable: false, writable: true }).end('stays\n');
  for (const descriptor of [1, 2]) closeSync(descriptor);
  for (const flags of ['w', 'w']) openSync('/dev/null', flags);
}

import { join } from 'node:path';
import { run } from '../test/peers/runtimes.ts';

/** Runs a program next to the daemon (see inside.ts), in its own namespaces. Returns its output. */
export function runInside(program: readonly string[]): string {
  return run('unshare', ['-m', '-n', process.execPath, join(import.meta.dirname, 'inside.ts'), ...program]);
}

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

/** Returns the entries that exist now and did not exist `before`, after a grace period in ms. */
export async function lasting(before: readonly string[], patience = 5000): Promise<string[]> {
  const until = performance.now() + patience;
  for (;;) {
    const left = leftovers().filter((thing) => !before.includes(thing));
    if (left.length === 0 || performance.now() > until) return left;
    await pause(200);
  }
}

/**
 * Returns everything with our name that tests can leave on this machine: mounts, links, tables and processes.
 */
export function leftovers(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  return [
    ...mounts.filter((path) => path.includes('portcullis')).map((path) => `mount ${path}`),
    ...lines('ip', ['-brief', 'link']).map((line) => `link ${line.split(/[\s@]/)[0] ?? ''}`),
    ...lines('nft', ['list', 'tables']).map((line) => `nft ${line}`),
    // A zombie process holds no resources.
    ...lines('pgrep', ['-a', '-x', 'conmon'])
      .filter((line) => !line.includes('<defunct>'))
      .map((line) => `process ${line}`),
  ];
}

function lines(command: string, args: string[]): string[] {
  const run = spawnSync(command, args, { encoding: 'utf8' });
  return (run.stdout as string | null)?.split('\n').filter((line) => line !== '') ?? [];
}

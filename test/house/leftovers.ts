import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What tests could leave on this machine: mounts, links, tables and processes that bear our name. */
export function leftovers(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  return [
    ...mounts.filter((path) => path.includes('portcullis')).map((path) => `mount ${path}`),
    ...lines('ip', ['-brief', 'link']).map((line) => `link ${line.split(/[\s@]/)[0] ?? ''}`),
    ...lines('nft', ['list', 'tables']).map((line) => `nft ${line}`),
    ...lines('pgrep', ['-a', '-x', 'conmon']).map((line) => `process ${line}`),
  ];
}

function lines(command: string, args: string[]): string[] {
  const run = spawnSync(command, args, { encoding: 'utf8' });
  return (run.stdout as string | null)?.split('\n').filter((line) => line !== '') ?? [];
}

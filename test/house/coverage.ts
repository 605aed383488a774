import { spawnSync } from 'node:child_process';

/** Prints what share of the code ran, from the V8 coverage files of every process the tests started, daemons included. */
export function printCoverage(out: NodeJS.WritableStream, folder: string): void {
  const rooms = ['base', 'trust', 'entitlements', 'cni-plugins', 'runtime', 'cli'];
  const args = [
    'report',
    '--temp-directory',
    folder,
    '--reporter',
    'text-summary',
    '--extension',
    '.ts',
    '--exclude',
    '**/*.test.ts',
    ...rooms.flatMap((room) => ['--include', `${room}/**`]),
  ];
  const report = spawnSync(process.execPath, ['node_modules/.bin/c8', ...args], { encoding: 'utf8', maxBuffer: 2 ** 26 });
  out.write(report.status === 0 ? report.stdout.replaceAll(/=+/g, '').replace(' Coverage summary ', 'coverage') : report.stderr);
}

import { execFile } from 'node:child_process';

/**
 * Returns a report of the code that ran, from the V8 coverage files of every test process, including daemons.
 */
export function coverageOf(folder: string): Promise<string> {
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
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['node_modules/.bin/c8', ...args],
      { maxBuffer: 2 ** 26 },
      (error, reported, complaint) =>
        resolve(
          error === null
            ? reported.replaceAll(/=+/g, '').replace(' Coverage summary ', 'coverage')
            : complaint,
        ),
    );
  });
}

import { execa } from 'execa';

/**
 * Returns a report of the code that ran, from the V8 coverage files of every test process, including daemons.
 */
export async function coverageOf(folder: string): Promise<string> {
  const modules = [
    'base',
    'trust',
    'entitlements',
    'cni-plugins',
    'fleet',
    'admission',
    'runtime',
    'node',
    'cli',
  ];
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
    ...modules.flatMap((module) => ['--include', `${module}/**`]),
  ];
  const { failed, stdout, stderr } = await execa(process.execPath, ['node_modules/.bin/c8', ...args], {
    reject: false,
  });
  return failed ? stderr : stdout.replaceAll(/=+/g, '').replace(' Coverage summary ', 'coverage');
}

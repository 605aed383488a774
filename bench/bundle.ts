import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/**
 * Importing this module first builds the bundle and lets the fixtures of the tests start the command from it
 * (test/fixtures/command.ts): a benchmark measures the daemon as it is released. From its sources, the daemon
 * starts later and uses more memory.
 */
if (process.env['PORTCULLIS_BUNDLE'] !== '1') {
  const build = join(import.meta.dirname, '../packaging/build.ts');
  execFileSync(process.execPath, [build, '--bundle-only'], { stdio: ['ignore', 'ignore', 'inherit'] });
  process.env['PORTCULLIS_BUNDLE'] = '1';
}

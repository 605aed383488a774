import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { findTool } from '../fixtures/tools.ts';

const repository = join(import.meta.dirname, '../..');

/** Builds the peers that are missing, and the bundle. Ends this process if one of them cannot be built. */
export function buildPrograms(tools: readonly string[]): void {
  const missing = tools.filter((tool) => findTool(tool).skip !== false);
  if (missing.length > 0) {
    console.log(`building ${missing.join(', ')} (minutes to an hour on two cores)`);
    const build = spawnSync('bash', [join(repository, 'test/peers/get'), ...missing], { stdio: 'inherit' });
    if (build.status !== 0) process.exit(4);
  }
  const built = spawnSync(process.execPath, [join(repository, 'packaging/build.ts'), '--bundle-only'], {
    cwd: repository,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (built.status !== 0) process.exit(built.status ?? 4);
}

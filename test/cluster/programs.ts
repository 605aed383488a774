import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { buildPeers } from '../fixtures/build-peers.ts';

const repository = join(import.meta.dirname, '../..');

/** Builds the peers that are missing, and the bundle. Ends this process if one of them cannot be built. */
export function buildPrograms(tools: readonly string[]): void {
  if (!buildPeers(tools)) process.exit(4);
  const built = spawnSync(process.execPath, [join(repository, 'packaging/build.ts'), '--bundle-only'], {
    cwd: repository,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (built.status !== 0) process.exit(built.status ?? 4);
}

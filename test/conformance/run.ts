/**
 * `npm run test:conformance [-- --focus REGEX] [--runtime NAME[=PATH|={…}]] [--websocket] [--keep-logs DIR]
 * [--plugins DIR]`: builds the daemon and runs critest against it in private namespaces.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { peers, repository } from './endpoint.ts';

const missing = ['critest', 'critimages'].filter((name) => !existsSync(join(peers, 'bin', name)));
if (missing.length > 0) {
  console.error(
    `conformance: ${missing.join(', ')} missing; build with: test/peers/get crictl critest images`,
  );
  process.exit(4);
}
// `npm test` has built the bundle, and other tests use it.
if (process.env['PORTCULLIS_BUNDLE'] !== '1') {
  const build = spawnSync(process.execPath, ['packaging/build.ts', '--bundle-only'], {
    cwd: repository,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (build.status !== 0) process.exit(build.status ?? 1);
}
const inside = join(import.meta.dirname, 'inside.ts');
const run = spawnSync('unshare', ['-m', '-n', process.execPath, inside, ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(run.status ?? 1);

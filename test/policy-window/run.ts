/**
 * `npm run test:policy-window [-- --starts N] [--seed N] [--lanes N] [--kills N]`: see README.md. Runs in its
 * own namespaces.
 */
import '../fixtures/private-namespaces.ts';
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openStage } from '../fixtures/stage.ts';
import { networkConfig, policies } from './network.ts';
import { startMany } from './starts.ts';

const { values } = parseArgs({
  options: {
    starts: { type: 'string', default: '10000' },
    lanes: { type: 'string', default: '6' },
    kills: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'pc-window-'));
const policyFolder = join(folder, 'network-policies');
mkdirSync(policyFolder);
writeFileSync(join(policyFolder, 'policies.yaml'), policies);
const config = join(folder, 'config.yaml');
writeFileSync(config, `network: { policies: ${policyFolder} }\n`);
console.log(`seed ${values.seed}`);
// The daemon as it is released: it starts sooner than from its sources.
execFileSync(process.execPath, ['packaging/build.ts', '--bundle-only'], { stdio: 'ignore' });
process.env['PORTCULLIS_BUNDLE'] = '1';
try {
  const stage = await openStage({ flags: ['--config', config], conflist: networkConfig });
  try {
    const figures = await startMany(stage, {
      starts: Number(values.starts),
      lanes: Number(values.lanes),
      kills: Number(values.kills),
      seed: Number(values.seed),
    });
    console.log(JSON.stringify(figures, undefined, 1));
  } finally {
    await stage.close();
  }
} catch (thrown) {
  console.error(`failed with --seed ${values.seed}:`, thrown);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

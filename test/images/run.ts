/**
 * `npm run test:images [-- --seconds N] [--seed N] [--lanes N]`: see README.md. Runs in its own namespaces.
 */
import '../fixtures/private-namespaces.ts';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openStage } from '../fixtures/stage.ts';
import { pinnedPattern, runHistory } from './history.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '120' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
    lanes: { type: 'string', default: '4' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'pc-history-'));
const config = join(folder, 'config.yaml');
writeFileSync(config, `images: { pinned: ["${pinnedPattern}"] }\n`);
console.log(`seed ${values.seed}`);
try {
  const stage = await openStage({ flags: ['--config', config] });
  try {
    const counts = await runHistory(stage, {
      seconds: Number(values.seconds),
      seed: Number(values.seed),
      lanes: Number(values.lanes),
    });
    console.log(JSON.stringify(counts));
  } finally {
    await stage.close();
  }
} catch (thrown) {
  console.error(`failed with --seed ${values.seed}:`, thrown);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

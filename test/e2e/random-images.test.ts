import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStage } from '../fixtures/stage.ts';
import { pinnedPattern, runHistory } from '../images/history.ts';

const seed = Number(process.env['FUZZ_SEED'] ?? 1);
const seconds = 5 * Number(process.env['FUZZ_TIMES'] ?? 1);

test(`pulls, removals, garbage collection and containers at random lose nothing (seed ${seed})`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-history-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, 'config.yaml');
  writeFileSync(config, `images: { pinned: ["${pinnedPattern}"] }\n`);
  const stage = await openStage({ flags: ['--config', config] });
  try {
    const counts = await runHistory(stage, { seconds, seed, lanes: 4 });
    for (const [act, count] of Object.entries(counts)) assert.ok(count > 0, `no ${act} has succeeded`);
  } finally {
    await stage.close();
  }
});

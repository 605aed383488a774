import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { defaultLimits } from '../limits/limits.ts';
import { createLayerBudget } from './layer-budget.ts';
import { createLowerReader, viewOf } from './lower-layers.ts';
import { mergedRoot, remembering, walkMerged } from './merged-view.ts';
import { newFolder } from './layer-tree.ts';

test('each name of the layers below is looked up once, however many paths lead through it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lower-layers-'));
  try {
    const roots = ['a', 'b', 'c'].map((name) => join(folder, name));
    for (const root of roots) mkdirSync(`${root}/${'deep/'.repeat(60)}`, { recursive: true });
    writeFileSync(`${roots[2] ?? ''}/file`, '');
    let lookUps = 0;
    const budget = createLayerBudget(defaultLimits, () => undefined);
    const counting = { ...budget, lookUp: () => void lookUps++ };
    const lowers = createLowerReader(counting);
    const view = viewOf(roots.map((layer) => ({ layer, path: '' })));
    for (let round = 0; round < 3; round++) {
      assert.equal(lowers.lookUp(view, 'file').kind, 'other');
      assert.equal(lowers.lookUp(view, 'missing').kind, 'none');
    }
    assert.equal(lookUps, 6);
    lookUps = 0;
    const top = mergedRoot(newFolder(undefined, ''), roots);
    for (const each of [top, top, remembering(top)]) {
      const found = walkMerged({ top: each, lowers, budget }, each, 'deep/'.repeat(60));
      assert.equal(found.lower.folders.length, 3);
    }
    assert.equal(lookUps, 180);
    lowers.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { corpusOf } from './corpus.ts';
import { readOnce } from './judge.ts';
import { groupNames, loadTarget, targetNames } from './targets/index.ts';

suite('every reader reads its corpus without a finding, and gives the same answer twice', () => {
  for (const group of groupNames) {
    test(group, async () => {
      for (const name of await targetNames(group)) {
        const target = await loadTarget(name);
        for (const input of await corpusOf(target)) {
          const [first, second] = [await readOnce(target, input), await readOnce(target, input)];
          assert.equal(first.flaw, undefined, name);
          assert.equal(second.answer, first.answer, name);
        }
      }
    });
  }
});

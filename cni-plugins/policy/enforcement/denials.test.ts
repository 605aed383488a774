import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AttachmentRecord } from '../../database/record.ts';
import { judgeTable } from '../rules/tables.ts';
import { denialsOf } from './denials.ts';

/** Returns the chains that are listed for a table with this number of rules; `all`: the table as a whole. */
function listedFor(rules: number): unknown {
  let listed: unknown = 'none';
  const record = { id: 'a', spec: { hostInterface: 'pca', addresses: [] } } as unknown as AttachmentRecord;
  denialsOf(
    [record],
    {
      tables: () => (rules === 0 ? [] : [[judgeTable, new Map([['one', rules]])]]),
      counts: (list) => {
        list(['one', 'two']);
        return [];
      },
    },
    {
      countedLinks: () => [],
      countedRules(_table, chains) {
        listed = chains === undefined ? 'all' : [...chains];
        return [];
      },
    },
  );
  return listed;
}

test('rules that deny are listed chain by chain only in a table with many rules', () => {
  assert.deepEqual([0, 5, 50_000].map(listedFor), ['none', 'all', ['one', 'two']]);
});

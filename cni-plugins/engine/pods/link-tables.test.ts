import assert from 'node:assert/strict';
import { test } from 'node:test';
import { replaceTables } from '../../table-copies/table-copies.ts';
import { policyTables } from '../../policy/index.ts';
import { createLinkTables, createReplacements } from './link-tables.ts';

/** Returns what happens in turn while the tables of peer rules are replaced. */
function rebuilding(exist: boolean): string[] {
  const seen: string[] = [];
  const kernel = {
    hasTable: () => exist,
    rules: () => void seen.push('sent'),
  };
  const replacements = createReplacements({ kernel, log: { warn: () => undefined } });
  const ofPeers = replaceTables(policyTables, (names) => {
    seen.push(`made ${names({ family: 'bridge', name: 'table' }).name}`);
    return [];
  });
  createLinkTables({ kernel, replacements }).rebuild([], [], ofPeers);
  return seen;
}

test('requests of many peer rules are made after those of the copy were sent, so that both never exist at once', () => {
  assert.deepEqual(rebuilding(true), ['made table_copy', 'sent', 'made table', 'sent', 'sent']);
});

test('where there are no tables, no copies of them are made', () => {
  const seen = rebuilding(false);
  assert.deepEqual(
    seen.filter((each) => each !== 'sent'),
    ['made table'],
  );
});

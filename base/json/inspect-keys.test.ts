import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspectKeys } from './inspect-keys.ts';

const names = { fields: ['size', 'kind'], maps: ['labels'] };

const cases: readonly (readonly [text: string, found: ReturnType<typeof inspectKeys>])[] = [
  ['{"size":1,"kind":[{"size":2}]}', { depth: 3 }],
  ['{"size":1,"size":2}', { depth: 1, repeated: 'size' }],
  ['{"size":1,"s\\u0069ze":2}', { depth: 1, repeated: 'size' }],
  ['[{"size":1},{"a":{"b":1,"b":2}}]', { depth: 3, repeated: 'b' }],
  ['{"size":1,"Size":2}', { depth: 1, otherCase: 'Size' }],
  ['{"SIZE":2}', { depth: 1, otherCase: 'SIZE' }],
  ['{"\u017fize":2}', { depth: 1, otherCase: '\u017fize' }],
  ['{"\u212aind":2}', { depth: 1, otherCase: '\u212aind' }],
  ['{"labels":{"Size":1,"size":2},"size":"Size"}', { depth: 2 }],
  ['{"labels":{"Size":1,"Size":2}}', { depth: 2, repeated: 'Size' }],
  ['{"labels":{"a":1},"other":{"Size":1}}', { depth: 2, otherCase: 'Size' }],
  ['{"a":"{\\"size\\":1,\\"size\\":2}"}', { depth: 1 }],
  ['["size","size"]', { depth: 1 }],
];

for (const [text, found] of cases)
  test(`${text}: ${JSON.stringify(found)}`, () => assert.deepEqual(inspectKeys(text, names), found));

test('without fields, only repeated keys are found', () => {
  assert.deepEqual(inspectKeys('{"":1,"a":2,"A":3}'), { depth: 1 });
  assert.deepEqual(inspectKeys('{"":1,"":2}'), { depth: 1, repeated: '' });
});

test('a text that is nested too deep, or is not JSON, ends the inspection', () => {
  assert.equal(inspectKeys('['.repeat(100_000)).depth, 129);
  for (const text of ['{"a', '{"\\u00', '{"\\x":1', '}}}]', '"']) inspectKeys(text, names);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinear, assertNearLinearWork } from '../../test/fixtures/cost.ts';
import { closest } from '../lists/index.ts';
import { parseDocuments } from './parse.ts';
import { sameValue } from './same-value.ts';
import type { Document } from './types.ts';
import { validate } from './validate.ts';
import { writeYaml } from './write.ts';

/** Documents of any shape are read in time that grows linearly with their size. */

const range = <T>(n: number, make: (index: number) => T): T[] =>
  Array.from({ length: n }, (_, index) => make(index));
const limits = { bytes: 64 * 1024 * 1024 };

const texts: Readonly<Record<string, readonly [n: number, (n: number) => string]>> = {
  'keys of one mapping': [300, (n) => range(n, (index) => `key${index}: value`).join('\n')],
  'items in brackets': [300, (n) => `[${range(n, String).join(', ')}]`],
  'JSON objects': [60, (n) => JSON.stringify(range(n, (index) => ({ a: index, b: [1, { c: 'd' }] })))],
  documents: [60, (n) => range(n, (index) => `--- \na: ${index}`).join('\n')],
  'blank lines': [3000, (n) => `${'\n'.repeat(n)}a: 1`],
  'a quoted text without an end': [3000, (n) => `a: "${'x\n '.repeat(n)}`],
  'brackets that close and open': [150, (n) => '[]\n'.repeat(n)],
  'brackets without an end, below the bound': [5000, (n) => `${'['.repeat(60)}${' '.repeat(n)}`],
  'anchors and aliases': [
    200,
    (n) =>
      `${range(n, (index) => `- &a${index} x`).join('\n')}\n${range(90, (index) => `- *a${index}`).join('\n')}`,
  ],
  'wrong indentation': [150, (n) => range(n, (index) => `${' '.repeat(index % 5)}a${index}: 1`).join('\n')],
};
for (const [what, [n, make]] of Object.entries(texts)) {
  test(`YAML: ${what}`, async () => {
    const made = new Map<number, string>();
    await assertNearLinear(
      what,
      (size) => {
        const text = made.get(size) ?? make(size);
        made.set(size, text);
        return parseDocuments(text, 'file', limits);
      },
      { n },
    );
  });
}

const schema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    list: {
      type: 'array',
      items: {
        anyOf: [
          { type: 'integer' },
          { type: 'object', additionalProperties: false, properties: { a: { type: 'integer' } } },
        ],
      },
    },
    map: { type: 'object', additionalProperties: { type: 'integer' } },
  },
};
const values: Readonly<Record<string, readonly [n: number, (n: number) => unknown]>> = {
  'right values': [150, (n) => ({ list: range(n, (a) => ({ a })) })],
  'wrong items of a list': [100, (n) => ({ list: range(n, () => 'x') })],
  'wrong items in a mapping': [
    150,
    (n) => ({ map: Object.fromEntries(range(n, (index) => [`key${index}`, 'x'])) }),
  ],
  'unknown keys': [150, (n) => Object.fromEntries(range(n, (index) => [`key${index}`, 'x']))],
  'unknown keys within a list of alternatives': [
    50,
    (n) => ({ list: range(n, (index) => ({ [`a${index}`]: 1 })) }),
  ],
};
for (const [what, [n, make]] of Object.entries(values)) {
  test(`schema: ${what}`, () =>
    assertNearLinearWork(
      what,
      (size) => {
        const text = JSON.stringify(make(size));
        return () => {
          const [document] = parseDocuments(text, 'file', limits).documents;
          return document === undefined ? undefined : validate(document, schema);
        };
      },
      { n },
    ));
}

test('equal values are compared, written and looked up', async () => {
  const valueOf = (n: number): unknown =>
    Object.fromEntries(range(n, (index) => [`k${index}`, [index, { a: index }]]));
  await assertNearLinear('comparison', (n) => sameValue(valueOf(n), valueOf(n)), { n: 1000 });
  await assertNearLinear('writing', (n) => writeYaml(valueOf(n)), { n: 100 });
  await assertNearLinear(
    'the nearest word',
    (n) =>
      closest(
        'xabcdefghij',
        range(n, (index) => `abcdefghij${index % 10}`),
      ),
    { n: 200 },
  );
});

/** A document whose mapping has `n` members of a wrong type. */
const wrongMembers = (n: number): Document => ({
  value: { map: Object.fromEntries(range(n, (index) => [`key${index}`, 'x'])) },
  file: 'file',
  positionOf: (path) => ({
    file: 'file',
    line: Number(String(path.at(-1)).replace('key', '')) + 1,
    column: 1,
  }),
});

test('schema: the cost grows linearly with very many problems', () =>
  assertNearLinearWork(
    'wrong members',
    (n) => {
      const document = wrongMembers(n);
      return () => validate(document, schema);
    },
    // The problems of the largest input still fit into the processor's caches, also beside other programs.
    { n: 5000 },
  ));

test('schema: of 300,000 problems, the first 100 are reported', () => {
  // A file of 2 MiB can have this many, more than the arguments of one call.
  assert.equal(validate(wrongMembers(300_000), schema).length, 100);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { stringAt } from './index.ts';

const path = ['signed', 'expires'];

test('a string is found by the keys of nested objects', () => {
  const texts = [
    '{"signed":{"expires":"A"}}',
    '{ "a": [{"signed":{"expires":"B"}}], "expires":"B",\n"signed" :\t{"meta":{"expires":"B"},"expires" : "A"}}',
    String.raw`{"\"":"{","sign\u0065d":{"x":"expires","expires":"\u0041"},"b":[]}`,
    '{"signatures":[],"signed":{"x":[{"expires":"B"}],"expires":"A","y":{}}}',
  ];
  for (const text of texts) assert.equal(stringAt(text, path), 'A', text);
});

test('no string is found elsewhere, or of another type', () => {
  const texts = [
    '{"signed":{"expires":1},"expires":"A"}',
    '{"signed":{"meta":{}},"x":{"expires":"A"}}',
    '{"signed":"x","expires":"A"}',
    '[{"signed":{"expires":"A"}}]',
    '{"signed":[{"expires":"A"}]}',
    '{"a":{"signed":{"expires":"A"}}}',
    '"signed"',
    '',
  ];
  for (const text of texts) assert.equal(stringAt(text, path), undefined, text);
});

test('a text of n objects and keys takes time proportional to n', async () => {
  const textOf = (n: number): string => `{"signed":{"x":[${'{"a":{}},'.repeat(n)}{}],"expires":"A"}}`;
  await assertNearLinear('a search', (n) => assert.equal(stringAt(textOf(n), path), 'A'), { n: 2000 });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isBlankText, isPreamble } from './blank-text.ts';

/** The definition of both functions as one expression over the whole text. */
const blank = /^(?:[^\S\n]*(?:(?:---|\.\.\.)[^\S\n]*)?(?:[%#][^\n]*)?(?:\n|$))*$/u;
const preamble = /^(?:[^\S\n]*(?:[%#][^\n]*)?\n)*$/u;

test('a text is blank, or a preamble, if each of its lines is', () => {
  const texts = fc
    .array(fc.constantFrom(' ', '\t', '\r', '\n', '---', '...', '#', '%', 'a', '-', '.', '\u00a0', '\u2028'))
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(texts, (text) => {
      assert.equal(isBlankText(text), blank.test(text), JSON.stringify(text));
      assert.equal(isPreamble(text), preamble.test(text), JSON.stringify(text));
    }),
    { numRuns: 20_000 },
  );
});

test('a text with many lines is checked to its end', () => {
  for (const line of ['\n', '  \n', '# comment\n', '---\n']) {
    const text = line.repeat((16 * 1024 * 1024) / line.length);
    assert.ok(isBlankText(text), JSON.stringify(line));
    assert.equal(isPreamble(text), !line.startsWith('-'));
    assert.ok(!isBlankText(`${text}a: 1`));
  }
});

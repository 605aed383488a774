import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { barLine } from './progress-bar.ts';
import { textWidth } from './terminal.ts';

const half = { bytes: 15_000_000, totalBytes: 30_000_000, rate: 5_000_000, secondsLeft: 3, note: 'app:1' };

test('a line has the word, a bar, the percentage, the bytes, the rate, the time left and the note', () => {
  assert.equal(
    barLine('pulled', half, 120, true),
    'pulled  ████████████░░░░░░░░░░░░   50 %  15.0 MB of 30.0 MB  5.0 MB/s  3 s left  app:1',
  );
});

test('a terminal without Unicode gets ASCII', () => {
  assert.match(barLine('pulled', half, 120, false), /^pulled {2}#{12}-{12} {3}50 %/u);
});

test('a narrow terminal gets the first parts, and a long note is cut', () => {
  assert.equal(
    barLine('pulled', half, 62, true),
    'pulled  ████████████░░░░░░░░░░░░   50 %  15.0 MB of 30.0 MB',
  );
  const long = { ...half, note: 'registry.example.com/a/very/long/name:1' };
  assert.equal(
    barLine('pulled', long, 100, true),
    'pulled  ████████████░░░░░░░░░░░░   50 %  15.0 MB of 30.0 MB  5.0 MB/s  3 s left  registry.example.…',
  );
});

test('a command without bytes to transfer is complete', () => {
  const nothing = { bytes: 0, totalBytes: 0, rate: 0, secondsLeft: undefined, note: undefined };
  assert.match(barLine('pulled', nothing, 80, false), /^pulled {2}#{24} {2}100 %/u);
});

test('tabs, line ends and colours of a note do not reach the terminal', () => {
  const line = barLine('pulled', { ...half, note: 'a\tb\nc\u001b[31md' }, 120, true);
  assert.match(line, /s left {2}a\?b\?c\?\[31md$/u);
});

test('a line is narrower than the terminal and holds no control character, whatever the note', () => {
  const state = fc.record({
    bytes: fc.nat(),
    totalBytes: fc.nat(),
    rate: fc.nat(),
    secondsLeft: fc.option(fc.nat(), { nil: undefined }),
    note: fc.option(fc.string({ unit: 'binary', maxLength: 200 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(state, fc.integer({ min: 1, max: 200 }), fc.boolean(), (advance, width, unicode) => {
      const line = barLine('pulled', advance, width, unicode);
      assert.ok(textWidth(line) < width, `${textWidth(line)} columns of ${width}`);
      assert.doesNotMatch(line, /[\p{Cc}]/u);
    }),
  );
});

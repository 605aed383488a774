import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closingLines } from './closing.ts';

test('each failed test has the first lines of its message below it', () => {
  const reasons = new Map([
    ['a.test.ts:1 adds', 'Expected values to be strictly equal:\n\n1 !== 2\n'],
    ['b.test.ts:2 waits', Array.from({ length: 20 }, (_, at) => `line ${at} ${'x'.repeat(300)}`).join('\n')],
  ]);
  const lines = closingLines({ flaky: ['b.test.ts:2 waits'], failures: ['a.test.ts:1 adds'], reasons })
    .trimEnd()
    .split('\n');
  assert.equal(lines[0], 'passed only the second time: b.test.ts:2 waits');
  assert.deepEqual(lines.slice(9), [
    'failed: a.test.ts:1 adds',
    '  Expected values to be strictly equal:',
    '  1 !== 2',
  ]);
  assert.ok(lines.every((line) => line.length <= 163));
});

test('the reasons of many failures fit into the end of the output', () => {
  const failures = Array.from({ length: 30 }, (_, at) => `${at}.test.ts:1 fails`);
  const reasons = new Map(failures.map((failure) => [failure, 'one\ntwo\nthree']));
  assert.equal(closingLines({ flaky: [], failures, reasons }).split('\n').length, 61);
  const more = [...failures, ...failures];
  assert.equal(closingLines({ flaky: [], failures: more, reasons }).split('\n').length, 61);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eitherOutcome, expectedFailures, tests } from './expected.ts';
import { readOutcomes } from './results.ts';

test('the output of go test has the outcome of each test, and of the parts in place of a failed whole', () => {
  const output = [
    '=== RUN   TestA',
    '--- FAIL: TestA (1.20s)',
    '    --- PASS: TestA/one_part (0.10s)',
    '    --- FAIL: TestA/another_part (1.10s)',
    '--- SKIP: TestB (0.00s)',
    '--- PASS: TestC (3.00s)',
    'PASS',
  ];
  assert.deepEqual(
    [...readOutcomes(output.join('\n'))],
    [
      ['TestA/one_part', 'PASS'],
      ['TestA/another_part', 'FAIL'],
      ['TestB', 'SKIP'],
      ['TestC', 'PASS'],
    ],
  );
});

test('each test is listed once, and each expected failure belongs to a listed test', () => {
  assert.equal(new Set(tests).size, tests.length);
  for (const name of Object.keys({ ...expectedFailures, ...eitherOutcome }))
    assert.ok(tests.includes(name.split('/')[0] ?? ''), name);
});

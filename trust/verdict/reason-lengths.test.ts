import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyOf } from '../evidence/fixtures/fixture-image.ts';
import {
  by,
  decided,
  foreign,
  second,
  signPredicate,
  statement,
} from '../evidence/fixtures/sample-evidence.ts';
import { withShortTexts, longestText } from './reason-lengths.ts';

/** A statement of about a megabyte, which is all that is read of one signature. */
const many = Array.from(
  { length: 8000 },
  (_, index) => `{"digest":{"sha256":"${index.toString(16).padStart(64, '0')}"}}`,
);
const crowded = statement(
  `{"_type":"https://in-toto.io/Statement/v1",${signPredicate},"predicate":{},"subject":[${many.join(',')}]}`,
);

test('evidence that names thousands of digests makes no large verdict', () => {
  const require = { kind: 'any', of: [by(second), by(foreign)] } as const;
  const verdict = decided([crowded, { ...crowded, foundBy: 'tag' }], policyOf({ require }));
  assert.equal(verdict.outcome, 'deny');
  const { length } = JSON.stringify(verdict);
  assert.ok(length < 8 * longestText, `the verdict has ${length} characters`);
  assert.match(JSON.stringify(verdict.reasons), /names another digest, sha256:0{64}, /u);
});

test('a text of the greatest length stays as it is', () => {
  const child = { counted: false, text: 'b'.repeat(longestText + 1), code: 'B' };
  const reason = { counted: true, text: 'a'.repeat(longestText), children: [child] };
  assert.deepEqual(withShortTexts(reason), {
    ...reason,
    children: [{ ...child, text: `${'b'.repeat(longestText - 1)}…` }],
  });
});

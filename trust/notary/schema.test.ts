import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { trustMigrations } from './schema.ts';

/**
 * sha256 of each released step, in order. Append the digest of a new step. Never change, move or remove one:
 * existing databases have applied these steps.
 */
const released = [
  '77f5b8449d1291a80bf0192f8743c4796d37423038c762c9f5d658f56c5d477b',
  '297d25c722949fc248738c94b0bc02421535a37cd5c06912057bb713c372fab4',
  '8b11ad9f7970c3fb1527001e32b42a86271ed9d362030cf849f1570cd33ff368',
];

test('the steps of the schema of trust.db are those that were released, in their order', () => {
  assert.deepEqual(
    trustMigrations.map(({ sql }) => createHash('sha256').update(sql).digest('hex')),
    released,
  );
});

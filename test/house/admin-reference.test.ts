import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { adminReference, renderAdminReference } from './admin-reference.ts';

test('docs/admin-api.md has the operations of the admin API, as they are described', () => {
  const written = readFileSync(adminReference, 'utf8');
  assert.equal(written, renderAdminReference(), 'run: sh packaging/node test/house/admin-reference.ts');
});

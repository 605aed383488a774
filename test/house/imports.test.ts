import assert from 'node:assert/strict';
import { test } from 'node:test';
import { committedImports, importsOfModules } from './imports.ts';

test('the imports of each module equal the committed list', async () => {
  assert.equal(
    await importsOfModules(),
    committedImports(),
    'the imports of a module have changed: check that this is intended, then run `npm run imports:update`',
  );
});

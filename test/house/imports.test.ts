import assert from 'node:assert/strict';
import { test } from 'node:test';
import { committedImports, importsOfRooms } from './imports.ts';

test('the imports of each room equal the committed list', async () => {
  assert.equal(
    await importsOfRooms(),
    committedImports(),
    'the imports of a room have changed: check that this is intended, then run `npm run imports:update`',
  );
});

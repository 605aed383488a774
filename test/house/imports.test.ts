import assert from 'node:assert/strict';
import { test } from 'node:test';
import { committedImports, importsOfRooms } from './imports.ts';

test("each room's imports are the committed ones", async () => {
  assert.equal(
    await importsOfRooms(),
    committedImports(),
    'a room imports something new, or something less: look whether it should, then run `npm run imports:update`',
  );
});

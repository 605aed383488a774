import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listWorkerModules, readGolden } from './worker-modules.ts';

test('each Worker loads exactly the modules of the committed list', async () => {
  assert.equal(
    await listWorkerModules(),
    readGolden(),
    'check that the Worker needs the code that it loads, then run: npm run imports:update',
  );
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { committedImports, importsOfModules } from './imports.ts';
import { readmesOfFolders } from './layers.ts';

test('the imports of each module equal the committed list', async () => {
  assert.equal(
    await importsOfModules(),
    committedImports(),
    'the imports of a module have changed: check that this is intended, then run `npm run imports:update`',
  );
});

test('each README says what its folder may import', async () => {
  for (const [path, text] of await readmesOfFolders()) {
    assert.equal(
      readFileSync(path, 'utf8'),
      text,
      `${path}: check whether the import is intended, then run \`npm run imports:update\``,
    );
  }
});

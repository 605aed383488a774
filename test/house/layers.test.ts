import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { productModules } from './imports.ts';
import { foldersOf, readLayers, readmesOfFolders } from './layers.ts';

const layers = readLayers();

describe('the layers inside the modules', () => {
  for (const module of productModules) {
    it(`name each folder of ${module} once`, () => {
      assert.deepEqual(
        (layers[module] ?? []).flat().sort(),
        foldersOf(module),
        `update test/house/layers.json`,
      );
    });
  }

  it('are what each README says that its folder may import', async () => {
    for (const [path, text] of await readmesOfFolders()) {
      assert.equal(
        readFileSync(path, 'utf8'),
        text,
        `${path}: check whether the import is intended, then run \`npm run imports:update\``,
      );
    }
  });
});

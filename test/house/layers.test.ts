import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { roomsOfProduct } from './imports.ts';
import { foldersOf, readLayers, readmesOfFolders } from './layers.ts';

const layers = readLayers();

describe('the layers inside the rooms', () => {
  for (const room of roomsOfProduct) {
    it(`name each folder of ${room} once`, () => {
      assert.deepEqual((layers[room] ?? []).flat().sort(), foldersOf(room), `update test/house/layers.json`);
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

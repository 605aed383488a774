import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { productModules } from './imports.ts';
import { foldersOf, readLayers } from './layers.ts';

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
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { readEntryPoints } from '../test/house/entry-points.ts';
import { readLibraries } from './libraries.ts';

const libraries = readLibraries();

describe('the libraries that package.json exports', () => {
  it('are entry points of the modules', () => {
    const entryPoints = readEntryPoints();
    assert.ok(libraries.length > 4);
    assert.deepEqual(
      libraries.map(({ source }) => source).filter((source) => !entryPoints.includes(source)),
      [],
    );
  });

  it('are in the folder of the chunks and the Workers, each with a name of its own', () => {
    const outs = libraries.map(({ out }) => out);
    assert.deepEqual(
      outs.filter((out) => basename(out) !== out),
      [],
    );
    assert.equal(new Set(outs).size, outs.length);
  });

  it('have declarations', () => {
    const { files } = JSON.parse(readFileSync(join(import.meta.dirname, 'declarations.json'), 'utf8')) as {
      files: string[];
    };
    assert.deepEqual(
      files.filter((file) => !file.endsWith('.d.ts')).sort(),
      libraries.map(({ source }) => `../${source}`).sort(),
    );
  });
});

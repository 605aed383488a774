import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { mutated } from '../../mutants/mutant.ts';
import { planted } from './list.ts';

const root = join(import.meta.dirname, '../../..');

test('each planted bug replaces a text that its file contains exactly once', async () => {
  for (const bug of planted) {
    const source = await readFile(join(root, bug.file), 'utf8');
    assert.notEqual(mutated(source, bug), source, bug.says);
  }
});

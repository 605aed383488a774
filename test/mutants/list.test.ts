import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mutants } from './list.ts';
import { mutated } from './mutant.ts';

const root = join(import.meta.dirname, '../..');

test('each mutant replaces a text that its file contains exactly once', () => {
  const wrong = mutants.flatMap((mutant) => {
    const source = readFileSync(join(root, mutant.file), 'utf8');
    try {
      return mutated(source, mutant) === source ? [`${mutant.file}: ${mutant.removes}`] : [];
    } catch (thrown) {
      return [String(thrown)];
    }
  });
  assert.deepEqual(wrong, []);
});

test('each mutant names test files that exist', () => {
  const missing = mutants.flatMap(({ tests }) => tests).filter((file) => !existsSync(join(root, file)));
  assert.deepEqual(missing, []);
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const folder = join(import.meta.dirname, '../../docs/decisions');

describe('the list of decisions', () => {
  it('names each decision once, in the order of the numbers', () => {
    const files = readdirSync(folder)
      .filter((name) => /^\d{4}-/u.test(name))
      .toSorted();
    const listed = [
      ...readFileSync(join(folder, 'README.md'), 'utf8').matchAll(/^\| \[\d{4}\]\(([^)]*)\)/gmu),
    ];
    assert.deepEqual(
      listed.map(([, file]) => file),
      files,
    );
  });

  it('gives each decision a unique number', () => {
    const numbers = readdirSync(folder).flatMap((name) => /^(\d{4})-/u.exec(name)?.[1] ?? []);
    assert.deepEqual(
      numbers.filter((number, index) => numbers.indexOf(number) !== index),
      [],
    );
  });
});

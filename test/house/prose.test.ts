import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { commentBeginnings, replacedWords } from './prose-words.ts';

const root = join(import.meta.dirname, '../..');
const files = execFileSync(
  'git',
  ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts', '*.md'],
  {
    cwd: root,
    encoding: 'utf8',
  },
)
  .split('\n')
  // Generated code, and the list of the words itself.
  .filter(
    (file) =>
      file !== '' && !/contract\.types\.ts$|prose-words\.ts$/.test(file) && existsSync(join(root, file)),
  );
const lines = files.flatMap((file) =>
  readFileSync(join(root, file), 'utf8')
    .split('\n')
    .map((text, index) => ({ place: `${file}:${index + 1}`, text })),
);

describe('texts are written in plain, modern technical English', () => {
  for (const { pattern, write } of replacedWords)
    it(`no text says /${pattern}/: write "${write}"`, () => {
      const words = new RegExp(pattern, 'iu');
      assert.deepEqual(
        lines.filter(({ text }) => words.test(text)).map(({ place, text }) => `${place}: ${text.trim()}`),
        [],
      );
    });
  for (const beginning of commentBeginnings)
    it(`no comment begins with "${beginning}"`, () => {
      const comment = new RegExp(String.raw`^\s*(?://|/\*\*?) ${beginning}`, 'u');
      assert.deepEqual(
        lines
          .filter(({ place, text }) => /\.ts:/.test(place) && comment.test(text))
          .map(({ place, text }) => `${place}: ${text.trim()}`),
        [],
      );
    });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { releaseNotes } from './notes.ts';

const range = { version: '1.1.0', from: 'v1.0.0', to: 'v1.1.0' };

test('release notes group commits by what they change, in their order', () => {
  const commits = [
    'Refuse a manifest with two configurations',
    'Add the command completion',
    'Keep a lease while its pod runs',
    'Give pods their own null device',
    'Merge branch x',
    'Test sparse files with smaller archives',
  ].map((subject, index) => ({ hash: `abc000${index}`, subject }));
  assert.equal(
    releaseNotes(range, commits),
    `# Portcullis 1.1.0

## Security

- Refuse a manifest with two configurations (abc0000)

## Fixed

- Keep a lease while its pod runs (abc0002)

## Added

- Add the command completion (abc0001)

## Changed

- Give pods their own null device (abc0003)

2 further commits change tests, documents or the structure of the code.

**Full changelog**: \`v1.0.0...v1.1.0\`
`,
  );
});

test('a subject cannot write Markdown or HTML', () => {
  const notes = releaseNotes(range, [{ hash: 'abc0001', subject: 'Add <img src=x> [link](evil) `code`' }]);
  assert.match(notes, /Add \\<img src=x\\> \\\[link\\\]\(evil\) \\`code\\`/u);
});

test('a release without commits has only its range', () => {
  assert.equal(releaseNotes(range, []), '# Portcullis 1.1.0\n\n**Full changelog**: `v1.0.0...v1.1.0`\n');
});

test('the first release has no earlier one to compare with', () => {
  const first = { version: '1.0.0', from: undefined, to: 'v1.0.0' };
  assert.equal(releaseNotes(first, []), '# Portcullis 1.0.0\n\nThis is the first release.\n');
});

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { portcullis } from '../test/fixtures/command.ts';

let folder = '';
let other = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-log-source-'));
  other = join(folder, 'notes.txt');
  writeFileSync(other, 'Remember the milk, and the bread.\n');
});
after(() => rmSync(folder, { recursive: true }));

test('a file that is no database is wrong input, without advice about disks', async () => {
  const { code, stderr } = await portcullis(['verdicts', 'ls', '--database', other]);
  assert.equal(code, 2);
  assert.match(stderr, /notes\.txt: it is not a database; name the state\.db of a daemon/u);
});

test('a file that is no exported log is wrong input', async () => {
  const { code, stderr } = await portcullis(['verdicts', 'show', '--file', other, 'sha256:1']);
  assert.equal(code, 2);
  assert.match(stderr, /name a file that portcullis verdicts export wrote/u);
});

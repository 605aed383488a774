import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { createOtherCommits } from './other-commits.ts';

test('commits of other connections are noticed, those of the own ones are not', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-commits-'));
  const file = join(folder, 'network.db');
  const [first, second, other] = [1, 2, 3].map(() => new DatabaseSync(file)) as [
    DatabaseSync,
    DatabaseSync,
    DatabaseSync,
  ];
  t.after(() => {
    for (const each of [first, second, other]) each.close();
    rmSync(folder, { recursive: true });
  });
  first.exec('PRAGMA journal_mode = WAL; CREATE TABLE note (text TEXT)');
  const write = (by: DatabaseSync): void => by.exec("INSERT INTO note VALUES ('x')");
  const commits = createOtherCommits([{ db: first }, { db: second }]);
  assert.equal(commits.came(), true);
  assert.equal(commits.came(), false);
  write(first);
  assert.equal(commits.came(), false);
  write(second);
  assert.equal(commits.came(), false);
  write(other);
  assert.equal(commits.have(), true);
  write(first);
  assert.equal(commits.came(), true, 'a later commit of an own connection does not hide it');
  assert.equal(commits.have(), false);
  write(other);
  write(second);
  assert.equal(commits.came(), true);
});

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { writeNewFile } from './output-file.ts';

test('a new file is written with its folders, completely or not at all, and never replaces a file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-output-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'a/b/c.txt');
  await writeNewFile(file, ['one\n', 'two\n'], { mode: 0o600 });
  assert.equal(readFileSync(file, 'utf8'), 'one\ntwo\n');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const refused = (why: RegExp) => (error: unknown) =>
    isPortcullisError(error) && error.code === 'CLI_FILE_UNWRITABLE' && why.test(error.message);
  await assert.rejects(writeNewFile(file, 'three'), refused(/exists already.*--out/s));
  assert.equal(readFileSync(file, 'utf8'), 'one\ntwo\n');
  await assert.rejects(
    writeNewFile(join(file, 'below'), 'x'),
    refused(/it, or a part of its path, is not a folder; name another place/),
  );
  assert.equal(readFileSync(file, 'utf8'), 'one\ntwo\n');
  function* broken(): Generator<string> {
    yield 'half';
    throw new Error('it broke');
  }
  const half = join(folder, 'half.txt');
  await assert.rejects(writeNewFile(half, broken()), refused(/it broke/));
  assert.equal(existsSync(half), false);
  assert.deepEqual(readdirSync(folder), ['a']);
});

test('a file that a command makes for long has its name only when it is complete', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-output-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'log.jsonl');
  function* slow(): Generator<string> {
    yield 'one\n';
    assert.equal(existsSync(file), false, 'a command that is killed here would leave half a log');
    yield 'two\n';
  }
  await writeNewFile(file, slow());
  assert.equal(readFileSync(file, 'utf8'), 'one\ntwo\n');
  assert.deepEqual(readdirSync(folder), ['log.jsonl']);
  function* raced(): Generator<string> {
    yield 'mine\n';
    writeFileSync(join(folder, 'raced'), 'another');
  }
  await assert.rejects(writeNewFile(join(folder, 'raced'), raced()), /exists already/);
  assert.equal(readFileSync(join(folder, 'raced'), 'utf8'), 'another');
});

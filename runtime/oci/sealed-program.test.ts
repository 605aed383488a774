import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, openSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openSealedProgram } from './sealed-program.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-sealed-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
const versionOf = (program: string): string =>
  execFileSync(program, ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? '';

test('crun runs from a copy that no process can write to, and that remains when its file is removed', async () => {
  const path = join(folder, 'crun');
  copyFileSync('/usr/bin/crun', path);
  const program = await openSealedProgram(path);
  assert.match(program(), /^\/proc\/\d+\/fd\/\d+$/);
  assert.equal(versionOf(program()), versionOf('/usr/bin/crun'));
  // The kernel does not permit writing to a running program. The seals protect it when it does not run.
  const sealed = openSync(program(), 'r+');
  assert.throws(() => writeFileSync(sealed, 'x'), { code: 'EPERM' });
});

test('a newer program is executed immediately, and copied', async () => {
  const path = join(folder, 'upgraded');
  copyFileSync('/usr/bin/crun', path);
  const program = await openSealedProgram(path);
  const before = program();
  unlinkSync(path);
  copyFileSync('/usr/sbin/runc', path);
  assert.equal(program(), path);
  for (let waited = 0; program() === path && waited < 60_000; waited += 10) await pause(10);
  assert.notEqual(program(), before);
  assert.match(versionOf(program()), /^runc/);
  unlinkSync(path);
  assert.equal(program(), path, 'a removed program is not run from memory');
});

test('a script is executed at its path', async () => {
  const path = join(folder, 'wrapper');
  writeFileSync(path, '#!/bin/sh\nexec /usr/bin/crun "$@"\n', { mode: 0o755 });
  assert.equal((await openSealedProgram(path))(), path);
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { interpreterFirst } from './interpreter.ts';

describe('the path of the interpreter', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-wrapper-'));
  after(() => rmSync(folder, { recursive: true }));
  const ask = (path: string, code: string): string =>
    execFileSync('python3', ['-c', code], { env: { ...process.env, PATH: path }, encoding: 'utf8' }).trim();
  const usual = process.env['PATH'] ?? '';
  const interpreter = ask(usual, 'import os, sys; print(os.path.realpath(sys.executable))');

  it('comes before a wrapper, and its folder is removed', () => {
    const calls = join(folder, 'calls');
    const wrapper = join(folder, 'python3');
    writeFileSync(wrapper, `#!/bin/sh\necho call >> ${calls}\nexec ${interpreter} "$@"\n`);
    chmodSync(wrapper, 0o755);
    const { path, remove } = interpreterFirst('python3', `${folder}:${usual}`);
    const before = path.split(':')[0] ?? '';
    rmSync(calls);
    assert.equal(ask(path, 'import json, socket; print(json.dumps(1))'), '1');
    assert.ok(!existsSync(calls));
    assert.deepEqual(readdirSync(before), ['python3']);
    remove();
    assert.ok(!existsSync(before));
  });

  it('is not changed without a wrapper, or without an interpreter', () => {
    const direct = `${join(realpathSync(interpreter), '..')}:${usual}`;
    assert.equal(interpreterFirst('python3', direct).path, direct);
    assert.equal(interpreterFirst('python-absent', usual).path, usual);
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withExecutable } from './executable-name.ts';

test('crun’s message about a program that cannot be opened gets its name', () => {
  const message = 'open executable: Permission denied';
  assert.equal(withExecutable(message, '/app\n$&'), 'open executable "/app\\n$&": Permission denied');
  assert.equal(withExecutable(message, undefined), message);
  const other = 'executable file `app` not found in $PATH: No such file or directory';
  assert.equal(withExecutable(other, 'app'), other);
});

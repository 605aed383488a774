import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lastMessage, plainMessage, withCause, withExecutable } from './runtime-message.ts';

test('crun’s message about a program that cannot be opened gets its name', () => {
  const message = 'open executable: Permission denied';
  assert.equal(withExecutable(message, '/app\n$&'), 'open executable "/app\\n$&": Permission denied');
  assert.equal(withExecutable(message, undefined), message);
  const other = 'executable file `app` not found in $PATH: No such file or directory';
  assert.equal(withExecutable(other, 'app'), other);
});

test('crun’s message about a null device that a volume hides gets its cause', () => {
  const said = 'failed open()ing /dev/null: Is a directory';
  assert.equal(withCause(said), `${said}: a volume at /dev, or at /dev/null, hides the null device`);
  assert.equal(withCause('open executable: Permission denied'), 'open executable: Permission denied');
});

test('a message of runc is shown without its time and level', () => {
  const line = 'time="2026-11-29T14:29:48Z" level=error msg="exec: \\"/etc\\": permission denied"';
  assert.equal(plainMessage(`${line}\n`), 'exec: "/etc": permission denied\n');
  assert.equal(plainMessage('level=warning msg=short error="a b"\nplain'), 'short error="a b"\nplain');
  assert.equal(plainMessage('open executable: Permission denied'), 'open executable: Permission denied');
});

test('the last message of a log is found above the place in a JSON file that crun adds', () => {
  const said = 'cannot parse status file: parse error: premature EOF';
  const place = `${' '.repeat(39)}{"pid\n${' '.repeat(21)}(right here) ------^\n\n`;
  assert.equal(lastMessage(`a warning\n${said}\n${place}`), said);
  assert.equal(lastMessage(`a warning\n${said}\n`), said);
});

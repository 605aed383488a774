import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readInputFile } from './input-file.ts';

test('the error about a file that is too large says how large it may be', () =>
  assert.rejects(readInputFile(import.meta.filename, 10), {
    code: 'CLI_FILE_UNREADABLE',
    message: /: it is larger than 10 bytes; name a readable file of at most 10 bytes \[/u,
  }));

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandFile } from '../../test/fixtures/command.ts';

test('the token of a reader is not sent to another machine without encryption', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-fleet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'reader.token');
  writeFileSync(file, 'token-of-the-reader-0123\n');
  const { status, stderr } = spawnSync(
    process.execPath,
    [commandFile, 'fleet', 'nodes', '--server', 'http://fleet.invalid:4319', '--token-file', file],
    { encoding: 'utf8' },
  );
  assert.match(stderr, /not sent over plain HTTP/u);
  assert.equal(status, 2);
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { readAccessFile } from '../../fleet/index.ts';
import { commandFile } from '../../test/fixtures/command.ts';

test('the printed entry of a token is for the given name, also if YAML has another meaning for it', () => {
  for (const name of ['node-7', '7', '1.10', '0x1F', '1e3', 'null', 'true', '2026-01-01']) {
    const { status, stdout } = spawnSync(process.execPath, [commandFile, 'fleet', 'token', name], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, name);
    const entry = stdout.slice(stdout.indexOf('nodes:'));
    assert.deepEqual([...readAccessFile('tokens.yaml', entry).nodes.keys()], [name]);
  }
});

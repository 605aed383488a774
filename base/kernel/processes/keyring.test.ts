import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { reapProcess, spawnProcess } from './spawn.ts';

const skip = existsSync('/proc/keys') ? false : 'the kernel has no keyrings';

it('a program gets a keyring of its own, and a later program does not inherit it', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-keyring-'));
  const path = join(folder, 'output');
  const keyringOf = async (ownKeyring: boolean): Promise<string> => {
    const output = openSync(path, 'w', 0o600);
    const argv = ['sh', 'packaging/node', join(import.meta.dirname, 'keyring.fixture.ts')];
    const cwd = join(import.meta.dirname, '../../..');
    const descriptors = [null, output, 2];
    const pid = spawnProcess({ path: '/bin/sh', argv, env: process.env, cwd, descriptors, ownKeyring });
    closeSync(output);
    while (reapProcess(pid) === undefined) await pause(10);
    return readFileSync(path, 'utf8').trim();
  };
  try {
    const found: string[] = [];
    for (const own of [false, true, false, true]) found.push(await keyringOf(own));
    for (const keyring of found) assert.match(keyring, /^\d+$/);
    assert.equal(new Set(found).size, found.length);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

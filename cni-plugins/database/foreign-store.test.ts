import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { foreignAddresses, freeForeignAddresses } from './foreign-store.ts';

test('a file that is not a lease of the store counts as taken, is never read to its end, and is not released', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'portcullis-store-'));
  t.after(() => rmSync(dataDir, { recursive: true }));
  const folder = join(dataDir, 'net');
  mkdirSync(folder);
  writeFileSync(join(folder, '10.0.0.2'), 'gone\r\neth0');
  writeFileSync(join(folder, '10.0.0.3'), `gone\r\neth0${' '.repeat(5000)}`);
  execFileSync('mkfifo', [join(folder, '10.0.0.4')]);
  symlinkSync('/dev/zero', join(folder, '10.0.0.5'));
  assert.deepEqual([...foreignAddresses(dataDir, 'net')].toSorted(), [
    '10.0.0.2',
    '10.0.0.3',
    '10.0.0.4',
    '10.0.0.5',
  ]);
  freeForeignAddresses(dataDir, 'net', (id) => id === 'gone');
  assert.deepEqual(readdirSync(folder).toSorted(), ['10.0.0.3', '10.0.0.4', '10.0.0.5']);
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { zipOf } from './zip.ts';

const files = [
  { path: 'b/text.txt', bytes: Buffer.from('text\n'.repeat(1000)) },
  { path: 'a-empty', bytes: Buffer.alloc(0) },
  { path: 'ü.bin', bytes: Buffer.from([0, 255, 1]) },
];

it('python reads the archive: names, content, time and mode', (t) => {
  const program = `import zipfile, sys, json
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
print(json.dumps([[i.filename, len(z.read(i)), list(i.date_time), oct(i.external_attr >> 16)] for i in z.infolist()]))`;
  if (spawnSync('python3', ['--version']).error !== undefined) return t.skip('no python3');
  const folder = mkdtempSync(join(tmpdir(), 'pc-zip-'));
  try {
    writeFileSync(join(folder, 'x.zip'), zipOf(files, 1_700_000_000));
    const { stdout, stderr } = spawnSync('python3', ['-c', program, join(folder, 'x.zip')], {
      encoding: 'utf8',
    });
    assert.notEqual(stdout, '', stderr);
    const time = [2023, 11, 14, 22, 13, 20];
    assert.deepEqual(JSON.parse(stdout), [
      ['a-empty', 0, time, '0o100644'],
      ['b/text.txt', 5000, time, '0o100644'],
      ['ü.bin', 3, time, '0o100644'],
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
  return undefined;
});

it('the order of the files does not matter', () => {
  assert.deepEqual(zipOf(files, 1_700_000_000), zipOf(files.toReversed(), 1_700_000_000));
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readPlainFile } from './index.ts';

describe('a regular file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-plain-'));
  after(() => rmSync(folder, { recursive: true }));
  const written = (text: string): string => {
    const path = join(folder, 'file');
    writeFileSync(path, text);
    return path;
  };

  for (const text of ['', 'a', 'ä'.repeat(50)])
    it(`of ${text.length} characters is read whole`, () => assert.equal(readPlainFile(written(text), 100), text));
  it('of one byte more than the limit is refused', () => {
    assert.throws(() => readPlainFile(written('a'.repeat(101)), 100), /^Error: it is larger than 100 bytes$/);
  });
  it('that reports no size is read whole', () => assert.match(readPlainFile('/proc/self/status', 65_536), /^Name:[^]*ctxt_switches/));
  it('that reports no size is read up to the limit', () => {
    assert.throws(() => readPlainFile('/proc/self/status', 10), /larger than 10 bytes/);
  });
  it('is not a folder, a FIFO or a device', () => {
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const path of [folder, fifo, '/dev/zero']) assert.throws(() => readPlainFile(path, 100), /not a regular file/, path);
  });
  it('that is missing gives the system’s error', () => assert.throws(() => readPlainFile(join(folder, 'none'), 100), { code: 'ENOENT' }));
});

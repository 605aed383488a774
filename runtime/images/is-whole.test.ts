import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { it } from 'node:test';
import { isWhole } from './is-whole.ts';

const { signal } = new AbortController();
const own = import.meta.filename;
const digest = `sha256:${createHash('sha256').update(readFileSync(own)).digest('hex')}`;

it('a file with the digest is whole; another file or a missing file is not', async () => {
  assert.equal(await isWhole(own, digest, signal), true);
  assert.equal(await isWhole(process.execPath, digest, signal), false);
  assert.equal(await isWhole(`${own}.missing`, digest, signal), false);
});

it('a file that cannot be opened because no descriptor is free does not count as damaged', async (t) => {
  const limit = (files: string): void => {
    execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${files}:`]);
  };
  const before = /^Max open files\s+(\d+)/mu.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? '';
  limit('128');
  const taken: number[] = [];
  t.after(() => {
    limit(before);
  });
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'));
  } catch {
    // No descriptor is left.
  }
  try {
    await assert.rejects(isWhole(own, digest, signal), { code: 'EMFILE' });
  } finally {
    for (const fd of taken) closeSync(fd);
  }
});

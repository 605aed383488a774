import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { holdDescriptors } from '../../process/descriptors.fixture.ts';
import { cachedFile } from '../index.ts';
import { temporaryFolder } from '../temporary.fixture.ts';

const tickMs = 30;

test('a recently used path is known, even while another process mounts continuously', async (t) => {
  const folder = temporaryFolder(t);
  const fixture = join(import.meta.dirname, 'busy-mounts.fixture.ts');
  const busy = spawn('unshare', ['--mount', process.execPath, fixture, temporaryFolder(t)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(busy.stdout, 'data');
  const { ino } = statSync(folder);
  const unknown: number[] = [];
  for (let look = 0; look < 20_000; look += 1) {
    const found = cachedFile(folder, { followLink: true });
    if (found === undefined) unknown.push(look);
    else assert.ok(found !== 'missing' && found.inode === String(ino));
  }
  busy.stdin.end();
  assert.deepEqual(await once(busy, 'close'), [0, null]);
  assert.deepEqual(unknown, []);
});

test('a name that was recently looked up and does not exist is missing', (t) => {
  const path = join(temporaryFolder(t), 'none');
  assert.equal(statSync(path, { throwIfNoEntry: false }), undefined);
  assert.equal(cachedFile(path, { followLink: true }), 'missing');
});

test('a link is followed only if requested', async (t) => {
  const folder = temporaryFolder(t);
  const link = join(folder, 'link');
  symlinkSync('.', link);
  // Reading a link writes its access time, once the clock of the file system has ticked. The caches do not
  // follow one that has to be written.
  await pause(tickMs);
  readlinkSync(link);
  const [itself, behind] = [false, true].map((followLink) => cachedFile(link, { followLink }));
  assert.ok(typeof itself === 'object' && typeof behind === 'object');
  assert.equal(behind.path, folder);
  assert.equal(itself.path, link);
});

test('a look-up without a free descriptor is an error', (t) => {
  const folder = temporaryFolder(t);
  const ask = (): unknown => cachedFile(folder, { followLink: true });
  assert.ok(typeof ask() === 'object');
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    assert.throws(ask, { code: 'KERNEL_EMFILE', kind: 'exhausted' });
  } finally {
    descriptors.release();
  }
});

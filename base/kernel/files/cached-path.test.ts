import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
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

/** `folder/file` in an EROFS image: mkfs.erofs -T0 --all-root -Enoinline_data, gzip -9n. */
const erofsImage =
  'H4sIAAAAAAACA+3QMQrCMBTG8ZfESTxGS0AxVxDv0dEKhULBydW7eC5Rd0dn+5ASMphJurT/H4R84YUX8kQAzNXz8b7fyl3lNK+k' +
  'EPfjjh3x/YWu197Jdjh/VFov4m5jLjX7IXvNIYRj1x7qU7a/lU3S3yR1n+m/jnXz7d+0dfYP14uJMzIjzwsAAAD4x3nJDAAAAAAAmLoe' +
  '3Fdr2AAgAAA=';

test('a path of a file system that stores no access times is known', (t) => {
  const folder = temporaryFolder(t);
  const [image, root] = [join(folder, 'image'), join(folder, 'root')];
  writeFileSync(image, gunzipSync(Buffer.from(erofsImage, 'base64')));
  mkdirSync(root);
  const mounted = spawnSync('mount', ['-t', 'erofs', '-o', 'loop', image, root], { encoding: 'utf8' });
  if (mounted.status !== 0) return t.skip(mounted.stderr);
  try {
    const path = join(root, 'folder/file');
    const { ino } = statSync(path);
    const found = cachedFile(path, { followLink: true });
    assert.ok(typeof found === 'object');
    assert.deepEqual([found.path, found.inode, found.size], [path, String(ino), 2]);
    const none = join(root, 'folder/none');
    assert.equal(statSync(none, { throwIfNoEntry: false }), undefined);
    assert.equal(cachedFile(none, { followLink: true }), 'missing');
  } finally {
    spawnSync('umount', [root]);
  }
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

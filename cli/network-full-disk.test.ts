import '../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { mount, umount } from '../base/kernel/index.ts';
import { portcullis } from '../test/fixtures/command.ts';

/** Commands about networks on a file system without a free block. */
const home = mkdtempSync(join(tmpdir(), 'portcullis-network-full-disk-'));
const full = join(home, 'full');
const [conf, root] = [join(full, 'net.d'), join(full, 'root')];
const places = ['--conf-dir', conf, '--root', root, '--admin-socket', join(home, 'none.sock')];
const network = (words: readonly string[], temporary = home) =>
  portcullis(['network', ...words, ...places], { ...process.env, TMPDIR: temporary });

before(() => {
  mkdirSync(full);
  mount('tmpfs', full, 'tmpfs', 0, 'size=256k');
  for (const folder of [conf, root]) mkdirSync(folder);
  for (const bytes of [4096, 512])
    try {
      for (;;) appendFileSync(join(full, 'filler'), Buffer.alloc(bytes));
    } catch (thrown) {
      assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
    }
});
after(() => {
  umount(full);
  rmSync(home, { recursive: true });
});

test('a full disk is reported as such, and a network is not written in part', async () => {
  const created = await network(['create', 'pods', '--subnet', '10.9.0.0/24']);
  assert.match(
    created.stderr,
    /^portcullis: create the network pods .*50-pods\.conflist: .*\[STORAGE_DISK_FULL\]\n$/u,
  );
  assert.equal(created.code, 4);
  const temporary = await network(['create', 'pods', '--subnet', '10.9.0.0/24'], full);
  assert.match(temporary.stderr, /^portcullis: write a temporary file .*\[STORAGE_DISK_FULL\]\n$/u);
  assert.deepEqual(readdirSync(conf), []);
});

test('a database that could not be written when it was created has no records', async () => {
  rmSync(join(full, 'filler'));
  writeFileSync(join(root, 'network.db'), '');
  for (const words of [['create', 'pods', '--subnet', '10.9.0.0/24'], ['ls'], ['inspect', 'pods']])
    assert.equal((await network(words)).code, 0, words.join(' '));
  const connected = await network(['connect', 'pods', 'shop/web']);
  assert.match(connected.stderr, /\[NETWORK_TARGET_UNKNOWN\]\n$/u);
  assert.equal((await network(['rm', 'pods'])).code, 0);
});

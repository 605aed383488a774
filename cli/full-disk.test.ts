import '../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { MS_RDONLY, mount, umount } from '../base/kernel/index.ts';
import { portcullis } from '../test/fixtures/command.ts';

/** Commands that write keys and policies to a file system without a free block. */
const home = mkdtempSync(join(tmpdir(), 'portcullis-full-disk-'));
const full = join(home, 'full');
const places = ['key', 'policy', 'imported', 'published'].map((name) => join(full, name));
const [key = '', policy = '', imported = '', published = ''] = places;

before(() => {
  mkdirSync(full);
  mount('tmpfs', full, 'tmpfs', 0, 'size=256k');
  for (const place of places) mkdirSync(place);
  writeFileSync(join(home, 'policy.json'), '{"default":[{"type":"reject"}]}');
  try {
    for (;;) appendFileSync(join(full, 'filler'), Buffer.alloc(4096));
  } catch (thrown) {
    assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
  }
});
after(() => {
  umount(full);
  rmSync(home, { recursive: true });
});

const cases: readonly { readonly words: readonly string[]; readonly place: string }[] = [
  { words: ['sign', '--generate-key', join(key, 'cosign')], place: key },
  { words: ['policy', 'init', join(policy, 'policy.yaml')], place: policy },
  {
    words: ['policy', 'import', '--from', 'containers', join(home, 'policy.json'), '--out', imported],
    place: imported,
  },
];
for (const { words, place } of cases)
  test(`${words.slice(0, 2).join(' ')}: a full disk is a failure, not wrong use, and leaves no file`, async () => {
    const { code, stderr } = await portcullis(words, { ...process.env, PORTCULLIS_PASSPHRASE: '' });
    assert.match(stderr, /the disk is full|ENOSPC/u);
    assert.match(stderr, /free space on that file system/u);
    assert.equal(code, 4);
    assert.deepEqual(readdirSync(place), []);
  });

test('trust publish: a folder that is full or read-only is a failure, not wrong use', async (t) => {
  const readOnly = join(home, 'served');
  mkdirSync(readOnly);
  mount('tmpfs', readOnly, 'tmpfs', MS_RDONLY, '');
  t.after(() => umount(readOnly));
  const environment = { ...process.env, PORTCULLIS_PASSPHRASE: 'a passphrase' };
  for (const [folder, why] of [
    [published, /the disk is full; free space on that file system/u],
    [readOnly, /read-only/u],
  ] as const) {
    const collection = [`example.com/${basename(folder)}`, '--dir', join(home, 'trust')];
    assert.equal((await portcullis(['trust', 'init', ...collection, '--to', folder], environment)).code, 0);
    const { code, stderr } = await portcullis(['trust', 'publish', ...collection], environment);
    assert.match(stderr, why);
    assert.equal(code, 4, stderr);
    assert.deepEqual(readdirSync(folder), []);
  }
});

test('a read-only file system is a failure, too, and not wrong use', async (t) => {
  const folder = join(home, 'read-only');
  mkdirSync(folder);
  mount('tmpfs', folder, 'tmpfs', MS_RDONLY, '');
  t.after(() => umount(folder));
  for (const words of [
    ['sign', '--generate-key', join(folder, 'cosign')],
    ['policy', 'init', join(folder, 'policy.yaml')],
    ['policy', 'import', '--from', 'containers', join(home, 'policy.json'), '--out', folder],
    ['policy', 'import', '--from', 'containers', join(home, 'policy.json'), '--out', join(folder, 'new')],
  ]) {
    const { code, stderr } = await portcullis(words, { ...process.env, PORTCULLIS_PASSPHRASE: '' });
    assert.match(stderr, /read-only/u, words.join(' '));
    assert.equal(code, 4, stderr);
  }
});

import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { mount, umount } from '../../base/kernel/index.ts';
import { portcullis } from '../../test/fixtures/command.ts';
import { buildImage, layerOf, pushImage } from '../../test/fixtures/image.ts';
import { startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-full-disk-test-'));
/** A file system that is smaller than the layers of the image. */
const full = join(home, 'full');
const archive = join(home, 'app.tar');
const client = createRegistryClient();
let registry: TestRegistry;
let name = '';

before(async () => {
  registry = await startRegistry();
  name = `${registry.host}/app:1`;
  const [repository] = client.repositories({ registry: registry.host, repository: 'app' });
  assert.ok(repository);
  await pushImage(
    repository,
    await buildImage({
      base: false,
      layers: [await layerOf([{ name: 'large', body: randomBytes(600_000) }])],
    }),
    '1',
  );
  const written = await portcullis(['images', 'export', name, archive]);
  assert.equal(written.code, 0, written.output);
  mkdirSync(full);
  mount('tmpfs', full, 'tmpfs', 0, 'size=256k');
});
after(async () => {
  umount(full);
  await client.close();
  await registry.close();
  rmSync(home, { recursive: true });
});

const layout = join(home, 'layout');
const cases: readonly (readonly [what: string, temporary: string, words: () => readonly string[]])[] = [
  ['temporary files of a push', full, () => ['push', archive, `${registry.host}/copy:1`]],
  [
    'temporary files of a push in parts',
    full,
    () => ['push', layout, `${registry.host}/copy:1`, '--chunked'],
  ],
  ['temporary files of an export', full, () => ['export', name, join(home, 'other.tar')]],
  ['the archive of an export', home, () => ['export', name, join(full, 'other.tar')]],
];
for (const [what, temporary, words] of cases)
  test(`a full disk for ${what} is reported as such, and nothing is left there`, async () => {
    mkdirSync(layout, { recursive: true });
    execFileSync('tar', ['-xf', archive, '-C', layout]);
    const { code, stderr } = await portcullis(['images', ...words()], { ...process.env, TMPDIR: temporary });
    assert.match(stderr, /^portcullis: .*: the disk is full; .* \[STORAGE_DISK_FULL\]\n$/u);
    assert.equal(code, 4);
    assert.deepEqual(readdirSync(full), []);
  });

test('a folder for temporary files that does not exist is named', async () => {
  const none = join(home, 'none');
  const { stderr } = await portcullis(['images', 'push', archive, name], { ...process.env, TMPDIR: none });
  assert.match(stderr, /create a folder for temporary files in .*\/none: .*\[STORAGE_NO_ACCESS\]/u);
});

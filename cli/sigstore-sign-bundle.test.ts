import '../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { mount, umount } from '../base/kernel/index.ts';
import { portcullis } from '../test/fixtures/command.ts';
import { startMockSigstore } from '../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../trust/sigstore/fixtures/mock-sigstore.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-sign-bundle-'));
const full = join(home, 'full');
let services: MockSigstore;

before(async () => {
  services = await startMockSigstore();
  writeFileSync(join(home, 'config.json'), JSON.stringify(services.signingConfig({ rekor: 2 })));
  writeFileSync(join(home, 'app.txt'), 'an artifact');
  mkdirSync(full);
  mount('tmpfs', full, 'tmpfs', 0, 'size=8k');
});
after(async () => {
  umount(full);
  await services.close();
  rmSync(home, { recursive: true });
});

const sign = (bundle: string, config = 'config.json') =>
  portcullis([
    ...['sigstore-sign-bundle', '--identity-token', services.token({ rekor: 2 })],
    ...['--signing-config', join(home, config), '--bundle', bundle, join(home, 'app.txt')],
  ]);

test('a full disk leaves the earlier bundle, and no part of the new one', async () => {
  const bundle = join(full, 'app.sigstore.json');
  writeFileSync(bundle, 'an earlier bundle');
  // One page is left, and the bundle needs two.
  const { code, output } = await sign(bundle);
  assert.equal(code, 4, output);
  assert.match(output, /the disk is full.*STORAGE_DISK_FULL/);
  assert.equal(readFileSync(bundle, 'utf8'), 'an earlier bundle');
  assert.deepEqual(readdirSync(full), ['app.sigstore.json']);
});

test('a place that cannot be written is refused before anything is signed', async () => {
  // No service answers there: a request to it would fail with another code.
  writeFileSync(
    join(home, 'silent.json'),
    JSON.stringify(services.signingConfig({ rekor: 2 })).replaceAll(services.url, 'http://127.0.0.1:9'),
  );
  for (const bundle of ['/dev/full', home, join(home, 'app.txt', 'below.json')]) {
    const { code, output } = await sign(bundle, 'silent.json');
    assert.equal(code, 2, output);
    assert.match(output, /CLI_REPORT_UNWRITABLE/);
  }
  const made = await sign(join(home, 'new', 'app.sigstore.json'));
  assert.equal(made.code, 0, made.output);
});

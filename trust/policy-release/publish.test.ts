import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { unencryptedKeys } from '../../test/fixtures/unencrypted-keys.ts';
import type { UnencryptedKeys } from '../../test/fixtures/unencrypted-keys.ts';
import { openRegistries } from '../registries/registry-access.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { openOwner } from '../tuf-author/owner.ts';
import type { Owner } from '../tuf-author/owner.types.ts';
import { advanceRelease, listReleases, publishRelease, withdrawRelease } from './publish.ts';
import type { PublishedRelease } from './publish.ts';

let folder = '';
/** The same collection at two publishers. */
let here = '';
let elsewhere = '';
let web = '';
let unencrypted: UnencryptedKeys;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-releases-'));
  [here, elsewhere, web] = [join(folder, 'here'), join(folder, 'elsewhere'), join(folder, 'web')];
  unencrypted = unencryptedKeys(join(folder, 'keys'));
  const { keys } = unencrypted;
  await asOwner(here, (owner) =>
    owner.init({ dialects: ['tuf'], destinations: [web], keys, expiry: {}, localKeys: true }),
  );
  await publish(here, 'first');
  cpSync(here, elsewhere, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Runs an action the way a command does. */
async function asOwner<T>(
  dir: string,
  action: (owner: Owner, registries: RegistryAccess) => Promise<T>,
): Promise<T> {
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const passphrase = { environment: { PORTCULLIS_PASSPHRASE: 'correct horse' } };
  const { signers } = unencrypted;
  const input = { folder: dir, name: 'fleet/policy', passphrase, signers, registries, now: new Date() };
  const owner = await openOwner(input);
  try {
    return await action(owner, registries);
  } finally {
    await owner.close();
    await registries.close();
  }
}

const publish = (
  dir: string,
  text: string,
  stages: readonly string[] = [],
  denials = 1,
): Promise<PublishedRelease> =>
  asOwner(dir, (owner, registries) =>
    publishRelease(owner, {
      files: new Map([['policy.yaml', Buffer.from(text)]]),
      ...{ revision: `sha256:${text}`, channel: 'stable', to: [], registries },
      stages: stages.map((name) => ({ name, percent: 10 })),
      halt: { denials, watch: 600 },
    }),
  );

/** The releases as a third publisher finds them at the place. */
const released = (dir: string): Promise<string[]> =>
  asOwner(dir, async (owner) => {
    await owner.publish({ to: [], countersign: false, expiry: {} });
    const found = await listReleases(owner, 'stable');
    return found.map(
      ({ number, revision, withdrawn }) => `${number} ${revision}${withdrawn ? ' withdrawn' : ''}`,
    );
  });

test('releases that are published at the same time get different numbers', async () => {
  const done = await Promise.all(['second', 'third', 'fourth'].map((text) => publish(here, text)));
  const found = await released(here);
  for (const { release } of done)
    assert.ok(found.includes(`${release.number} ${release.revision}`), found.join());
  assert.deepEqual(done.map(({ release }) => release.number).sort(), [2, 3, 4]);
});

test('a release of another publisher keeps its number', async () => {
  assert.equal((await publish(here, 'of here')).release.number, 2);
  const { release } = await publish(elsewhere, 'of elsewhere');
  assert.equal(release.number, 3);
  assert.deepEqual((await released(here)).slice(0, 2), ['3 sha256:of elsewhere', '2 sha256:of here']);
  assert.equal((await asOwner(elsewhere, (owner) => owner.staged())).length, 0);
});

test('a rollout does not restore a release that another publisher has withdrawn', async () => {
  await publish(here, 'staged', ['canary', 'more']);
  await released(elsewhere);
  await asOwner(here, (owner) => withdrawRelease(owner, 'stable', 2));
  await assert.rejects(
    asOwner(elsewhere, (owner) => advanceRelease(owner, 'stable', undefined)),
    { code: 'TRUST_RELEASE_UNKNOWN' },
  );
  assert.deepEqual((await released(here))[0], '2 sha256:staged withdrawn');
});

test('an urgent publish of the same files is another release, once', async () => {
  const staged = await publish(here, 'staged', ['canary']);
  assert.equal((await publish(here, 'staged')).isNew, false, 'a renewal');
  const { release, isNew } = await publish(here, 'staged', [], 0);
  assert.deepEqual([isNew, release.number], [true, staged.release.number + 1]);
  assert.deepEqual([release.sha256, release.stages, release.halt.denials], [staged.release.sha256, [], 0]);
  assert.equal((await publish(here, 'staged', [], 0)).isNew, false);
});

test('a publish that failed leaves nothing that blocks the next one', async () => {
  rmSync(web, { recursive: true });
  const failing = asOwner(here, (owner, registries) =>
    publishRelease(owner, {
      files: new Map([['policy.yaml', Buffer.from('lost')]]),
      ...{ revision: 'sha256:lost', channel: 'stable', to: ['/proc/nowhere'], registries },
      ...{ stages: [], halt: { denials: 1, watch: 600 }, releases: join(folder, 'archives') },
    }),
  );
  await assert.rejects(failing, { code: 'TRUST_AUTHOR_DESTINATION' });
  const { release, isNew } = await publish(here, 'lost');
  assert.deepEqual([release.number, isNew], [2, false]);
  assert.equal((await publish(here, 'next')).release.number, 3);
});

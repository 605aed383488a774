import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestContext } from 'node:test';
import { loadPolicy } from '../policy/load.ts';
import { decide } from '../verdict/decide.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { serveTufRepository } from './fixtures/tuf-repository.ts';
import { embeddedTrustedRoot } from './seeds.ts';
import { cachedRootFile, cachedTimestampFile, rootFolder } from './root-cache.ts';
import { updateTrustedRoot } from './update-root.ts';

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'trust-update-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

const pretty = Buffer.from(JSON.stringify(JSON.parse(embeddedTrustedRoot().toString()), null, 1));

test('fetches a root, then follows updates; refuses an older, forged or invalid root, and keeps the current one', async (t) => {
  const [repository, cache] = [await serveTufRepository(t), await folderOf(t)];
  const { url } = repository;
  const update = () => updateTrustedRoot({ url, cache, tufRoot: repository.root });
  const kept = () => readFile(cachedRootFile(cache, url));
  repository.publish(2, embeddedTrustedRoot());
  assert.equal((await update()).changed, true);
  assert.deepEqual(await kept(), embeddedTrustedRoot());
  assert.equal((await update()).changed, false);
  repository.publish(3, pretty);
  assert.equal((await update()).changed, true);
  for (const [name, publish] of [
    ['an older version', () => repository.publish(2, embeddedTrustedRoot())],
    [
      'another signer',
      () => repository.publish(4, embeddedTrustedRoot(), generateKeyPairSync('ed25519').privateKey),
    ],
    ['no trusted root', () => repository.publish(4, Buffer.from('{}'))],
  ] as const) {
    publish();
    await assert.rejects(update(), { code: 'TRUST_ROOT_REFUSED', kind: 'denied' }, name);
    assert.deepEqual(await kept(), pretty, name);
  }
  repository.publish(5, embeddedTrustedRoot());
  // The first root is needed only once.
  assert.equal((await updateTrustedRoot({ url, cache })).changed, true);
});

test('an unknown repository and an unreachable repository are reported', async (t) => {
  const [repository, cache] = [await serveTufRepository(t), await folderOf(t)];
  await assert.rejects(updateTrustedRoot({ url: repository.url, cache }), {
    code: 'TRUST_ROOT_UNKNOWN',
    kind: 'precondition',
    message: /name its first TUF root: --root FILE/,
  });
  await repository.close();
  await assert.rejects(updateTrustedRoot({ url: repository.url, cache, tufRoot: repository.root }), {
    code: 'TRUST_ROOT_UPDATE_FAILED',
    kind: 'unavailable',
    message: /policies continue to use the current root/,
  });
  const empty = await serveTufRepository(t);
  await assert.rejects(updateTrustedRoot({ url: empty.url, cache, tufRoot: empty.root }), {
    code: 'TRUST_ROOT_UPDATE_FAILED',
    kind: 'unavailable',
    message: /timestamp.json is missing/,
  });
});

test('a given first root that is not valid is not blamed on the repository', async (t) => {
  const [repository, cache] = [await serveTufRepository(t), await folderOf(t)];
  const forged = Buffer.from(repository.root.toString().replace('"version":1', '"version":7'));
  for (const tufRoot of [Buffer.from('no JSON'), forged])
    await assert.rejects(updateTrustedRoot({ url: repository.url, cache, tufRoot }), {
      code: 'TRUST_ROOT_UNKNOWN',
      kind: 'invalid',
      message: /the given first TUF root is not valid: .*: --root FILE/,
    });
});

test('a root that cannot be written is not vouched for by newer metadata', async (t) => {
  const [repository, cache] = [await serveTufRepository(t), await folderOf(t)];
  const { url } = repository;
  const update = () => updateTrustedRoot({ url, cache, tufRoot: repository.root });
  repository.publish(2, embeddedTrustedRoot());
  await update();
  const timestamp = await readFile(cachedTimestampFile(cache, url));
  repository.publish(3, pretty);
  // A rename over a folder fails, as a write to a full disk does.
  const file = cachedRootFile(cache, url);
  await rm(file);
  await mkdir(join(file, 'in-the-way'), { recursive: true });
  await assert.rejects(update(), { code: 'TRUST_ROOT_UPDATE_FAILED' });
  assert.deepEqual(await readFile(cachedTimestampFile(cache, url)), timestamp);
  await rm(file, { recursive: true });
  await update();
  assert.notDeepEqual(await readFile(cachedTimestampFile(cache, url)), timestamp);
  assert.deepEqual(await readFile(file), pretty);
});

test('a slow update never replaces the root of a later one, and what an ended one left is removed', async (t) => {
  const [repository, cache] = [await serveTufRepository(t), await folderOf(t)];
  const { url } = repository;
  const update = () => updateTrustedRoot({ url, cache, tufRoot: repository.root });
  repository.publish(2, embeddedTrustedRoot());
  await update();
  await mkdir(join(rootFolder(cache, url), 'update-killed'));
  const slow = repository.hold('/targets/trusted_root.json');
  const first = update();
  await slow.asked;
  repository.publish(3, pretty);
  const second = update();
  // Time for the second update to finish, if it did not wait for the first one.
  await sleep(500);
  slow.release();
  await Promise.all([first, second]);
  assert.deepEqual(await readFile(cachedRootFile(cache, url)), pretty);
  assert.deepEqual(
    (await readdir(rootFolder(cache, url))).filter((name) => name.startsWith('update-')),
    [],
  );
});

test('a cache that is not a folder is reported in words', async (t) => {
  const [repository, folder] = [await serveTufRepository(t), await folderOf(t)];
  const file = join(folder, 'file');
  await writeFile(file, '');
  for (const cache of [file, join(file, 'below')])
    await assert.rejects(updateTrustedRoot({ url: repository.url, cache, tufRoot: repository.root }), {
      code: 'TRUST_ROOT_UPDATE_FAILED',
      kind: 'unavailable',
      message: /: cannot make folder .*file.*: it, or a part of its path, is not a folder; /u,
    });
});

test('a policy states its repositories and their expiry; after that their roots decide nothing', async (t) => {
  const [repository, cache] = [await serveTufRepository(t, 3600), await folderOf(t)];
  const { url } = repository;
  const file = join(cache, 'policy.yaml');
  const rule = `require: { sigstore: { issuer: https://issuer.test, subject: a@example.com, root: { tuf: { url: "${url}", cache: "${cache}" } } } }`;
  await writeFile(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    ${rule}\n`,
  );
  await assert.rejects(
    loadPolicy({ paths: [file] }),
    /fetch it: portcullis sigstore-root update --url http.* --root FILE --cache /,
  );
  repository.publish(1, embeddedTrustedRoot());
  const { expires } = await updateTrustedRoot({ url, cache, tufRoot: repository.root });
  const { policy, tufRoots } = await loadPolicy({ paths: [file] });
  assert.deepEqual(tufRoots, [{ url, cache, expires }]);
  const digest = `sha256:${'a'.repeat(64)}`;
  const now = new Date();
  const verdictAt = (at: Date, unreachable: { source: string; why: string }[] = []) => {
    const dossier = sealDossier({
      reference: 'a.test/b:1',
      digest,
      manifestDigest: digest,
      items: [],
      unreachable,
      gatheredAt: now.toISOString(),
    });
    return decide({
      dossier,
      reference: 'a.test/b:1',
      namespace: '',
      platform: { os: 'linux', architecture: 'amd64' },
      policy,
      now: at,
    });
  };
  // A missing signature remains a "no"; every other result becomes unknown.
  assert.equal(verdictAt(new Date(expires + 1)).outcome, 'deny');
  const source = [{ source: 'registry', why: 'away' }];
  assert.equal(verdictAt(now, source).validUntil, new Date(expires).toISOString());
  const late = verdictAt(new Date(expires), source);
  assert.equal(late.outcome, 'undecided');
  assert.match(explainVerdict(late), /the metadata of the trusted root http.* was valid until/);

  // The same root with a new expiry is a new revision: a decision that was valid until the old expiry is made
  // again.
  repository.publish(2, embeddedTrustedRoot());
  await new Promise((resolve) => setTimeout(resolve, 1100));
  repository.publish(3, embeddedTrustedRoot());
  const again = await updateTrustedRoot({ url, cache });
  assert.ok(again.expires > expires && !again.changed);
  const { policy: newer } = await loadPolicy({ paths: [file] });
  assert.notEqual(newer.revision, policy.revision);
});

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { sealDossier } from '../evidence/dossier.ts';
import { loadPolicy } from '../policy/load.ts';
import { parseSigningConfig } from '../signers/signing-config.ts';
import { trustRoot } from '../tuf/trusted-set.ts';
import { decide } from '../verdict/decide.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { serveTufRepository } from './fixtures/tuf-repository.ts';
import { trustedRootOfInstance } from './instances.ts';
import { cachedRootFile, cachedSigningConfigFile, defaultRootCache } from './root-cache.ts';
import {
  embeddedTrustedRoot,
  embeddedTrustedRootExpires,
  embeddedTufRoot,
  publicGoodTufUrl,
  sigstoreSeeds,
  stagingTufUrl,
} from './seeds.ts';
import { servicesOfTrustedRoot, signingConfiguration } from './signing-configuration.ts';
import { readTrustedRoot } from './trusted-root.ts';
import { updateTrustedRoot } from './update-root.ts';

const day = 24 * 3600 * 1000;
const afterSeed = new Date(embeddedTrustedRootExpires() + day);

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'trust-seeds-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

test('the seeds are those of the installed package, and our TUF client accepts them', async () => {
  const installed = JSON.parse(
    readFileSync(new URL('../../node_modules/@sigstore/tuf/seeds.json', import.meta.url), 'utf8'),
  ) as Record<string, { 'root.json': string; targets: Record<string, string> }>;
  const seed = installed[publicGoodTufUrl];
  assert.ok(seed !== undefined);
  assert.deepEqual(await embeddedTufRoot(publicGoodTufUrl), Buffer.from(seed['root.json'], 'base64'));
  assert.deepEqual(embeddedTrustedRoot(), Buffer.from(seed.targets['trusted_root.json'] ?? '', 'base64'));
  for (const { url, version } of await sigstoreSeeds())
    assert.equal(
      trustRoot('tuf', (await embeddedTufRoot(url)) ?? Buffer.alloc(0)).root.signed.version,
      version,
    );
  assert.equal(await embeddedTufRoot('https://tuf.example.com'), undefined);
  assert.ok(readTrustedRoot(embeddedTrustedRoot()).authorities.length > 0);
  // When the package gets a seed of the staging instance, the copy in roots/ must be removed.
  assert.deepEqual(
    Object.keys(installed).filter((url) => url === stagingTufUrl),
    [],
  );
});

test('an expired root can start an update to a valid one', async (t) => {
  const repository = await serveTufRepository(t);
  const [cache, first] = [await folderOf(t), repository.rootOf(1, -day)];
  repository.rotate(2, 30 * day);
  repository.publish(1);
  await updateTrustedRoot({ url: repository.url, cache, tufRoot: first });
  const ended = await serveTufRepository(t);
  ended.publish(1);
  await assert.rejects(
    updateTrustedRoot({ url: ended.url, cache: await folderOf(t), tufRoot: ended.rootOf(1, -day) }),
    {
      code: 'TRUST_ROOT_REFUSED',
      kind: 'denied',
      message: /expired/,
    },
  );
});

test('the shipped root decides until its TUF root expires, and the reason then states what to do', async (t) => {
  if (existsSync(cachedRootFile(defaultRootCache, publicGoodTufUrl)))
    return t.skip('this machine has fetched a newer root');
  const folder = await folderOf(t);
  const file = join(folder, 'policy.yaml');
  const rule =
    'require: { sigstore: { issuer: https://issuer.test, subject: a@example.com, root: public-good } }';
  await writeFile(
    file,
    `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["**"]\n    ${rule}\n`,
  );
  const { policy } = await loadPolicy({ paths: [file] });
  const digest = `sha256:${'a'.repeat(64)}`;
  const dossier = sealDossier({
    reference: 'a.test/b:1',
    digest,
    manifestDigest: digest,
    items: [],
    unreachable: [{ source: 'registry', why: 'away' }],
    gatheredAt: new Date(0).toISOString(),
  });
  const verdictAt = (now: Date) =>
    decide({
      dossier,
      reference: 'a.test/b:1',
      namespace: '',
      platform: { os: 'linux', architecture: 'amd64' },
      policy,
      now,
    });
  const end = new Date(embeddedTrustedRootExpires());
  assert.equal(verdictAt(new Date(end.getTime() - 1)).validUntil, end.toISOString());
  const late = verdictAt(end);
  assert.equal(late.outcome, 'undecided');
  assert.match(
    explainVerdict(late),
    /that ships with this version was valid until .*portcullis sigstore-root update/,
  );
});

test('a file is verified with the shipped root while that root is valid', async (t) => {
  const cache = await folderOf(t);
  const before = new Date(embeddedTrustedRootExpires() - day);
  assert.deepEqual(await trustedRootOfInstance('public-good', before, cache), embeddedTrustedRoot());
});

const config = (name: string): Buffer =>
  Buffer.from(
    JSON.stringify({
      mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
      caUrls: [
        {
          url: `https://${name}.test`,
          majorApiVersion: 1,
          validFor: { start: '2020-01-01T00:00:00Z' },
          operator: name,
        },
      ],
      rekorTlogUrls: [],
    }),
  );

test('the signing configuration comes from the TUF repository, else from the last fetched files, and never from unsigned files', async (t) => {
  const [repository, cache] = [await serveTufRepository(t), await folderOf(t)];
  const { url, root: tufRoot } = repository;
  const now = new Date();
  const fetched = () => signingConfiguration({ url, cache, tufRoot, now });
  repository.publish(1, undefined, undefined, config('one'));
  assert.deepEqual(await fetched(), config('one'));
  // Nothing was written to the root cache.
  await assert.rejects(readFile(cachedSigningConfigFile(cache, url)), /ENOENT/);
  await updateTrustedRoot({ url, cache, tufRoot });
  repository.publish(2, undefined, undefined, config('two'));
  assert.deepEqual(await fetched(), config('two'));
  repository.forge('/targets/signing_config.v0.2.json', config('evil'));
  await assert.rejects(fetched(), /TRUST_SIGNING_CONFIG/);
  await repository.close();
  assert.deepEqual(await fetched(), config('one'));
  await assert.rejects(
    signingConfiguration({ url, cache: await folderOf(t), tufRoot, now }),
    /TRUST_SIGNING_CONFIG/,
  );
});

test('without a repository and a cache, the services are those of the shipped root', () => {
  const services = parseSigningConfig(
    servicesOfTrustedRoot(embeddedTrustedRoot()),
    'the seed',
    new Date(afterSeed.getTime() - 2 * day),
  );
  assert.equal(services.fulcioUrl, 'https://fulcio.sigstore.dev');
  assert.deepEqual(services.witnesses.logs, [{ url: 'https://rekor.sigstore.dev', version: 1 }]);
  assert.deepEqual(services.witnesses.timestamps, ['https://timestamp.sigstore.dev/api/v1/timestamp']);
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { loadSigningKey } from '../keys/private-key.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { openRegistries } from '../registries/registry-access.ts';
import { signReference } from './sign-reference.ts';
import { explainVerdict } from '../verdict/explain-verdict.ts';
import { verifyImage } from '../verify-image.ts';
import { amd64, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { signatureTag } from '../evidence/cosign-names.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import { startMockSigstore } from '../sigstore/fixtures/mock-sigstore.ts';
import { layersAt } from './attach.ts';
import { signImage } from './sign-image.ts';

const cosign = [...(process.env['PATH'] ?? '').split(delimiter), '/var/cache/portcullis-peers/bin']
  .map((folder) => join(folder, 'cosign'))
  .find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

const skip = findRegistry() === undefined ? 'no docker-registry' : false;
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';
const client = createRegistryClient({ tagSettleMs: 0 });
let registry: TestRegistry;
let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trust-sign-'));
  if (skip === false) registry = await startRegistry();
});
after(async () => {
  await client.close();
  if (skip === false) await registry.close();
  await rm(folder, { recursive: true });
});

const makers = {
  'ECDSA P-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'ECDSA P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'ECDSA P-521': () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  Ed25519: () => generateKeyPairSync('ed25519'),
  'RSA 2048': () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
} as const;

async function newKey(kind: keyof typeof makers): Promise<{ key: SigningKey; publicFile: string }> {
  const pair = makers[kind]();
  const file = join(folder, kind.replace(' ', '-'));
  await writeFile(`${file}.pem`, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await writeFile(`${file}.pub`, pair.publicKey.export({ type: 'spki', format: 'pem' }));
  return { key: await loadSigningKey(`${file}.pem`, { environment: {} }), publicFile: `${file}.pub` };
}

function repositoryOf(name: string): RegistryRepository {
  const [repository] = client.repositories({ registry: registry.host, repository: name });
  assert.ok(repository);
  return repository;
}

async function pushImage(
  repository: RegistryRepository,
  text: string,
  tag?: string,
): Promise<{ digest: string; size: number }> {
  const [config, layer] = await Promise.all([
    repository.pushBlob(Buffer.from(`{"architecture":"amd64","os":"linux","note":"${text}"}`)),
    repository.pushBlob(Buffer.from(text)),
  ]);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: config.digest,
        size: config.size,
      },
      layers: [
        { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: layer.digest, size: layer.size },
      ],
    }),
  );
  const { digest } = await repository.pushManifest(manifest, manifestType, tag === undefined ? {} : { tag });
  return { digest, size: manifest.length };
}

async function pushIndex(
  repository: RegistryRepository,
  tag: string,
): Promise<{ digest: string; manifests: readonly string[] }> {
  const images = [await pushImage(repository, 'one'), await pushImage(repository, 'two')];
  const manifests = images.map((image, at) => ({
    mediaType: manifestType,
    ...image,
    platform: { os: 'linux', architecture: at === 0 ? 'amd64' : 'arm64' },
  }));
  const { digest } = await repository.pushManifest(
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests })),
    indexType,
    { tag },
  );
  return { digest, manifests: images.map((image) => image.digest) };
}

function cosignVerify(publicFile: string, reference: string): ReturnType<typeof spawnSync> {
  const options = ['--insecure-ignore-tlog=true', '--private-infrastructure', '--allow-insecure-registry'];
  return spawnSync(cosign ?? '', ['verify', '--key', publicFile, ...options, reference], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: folder },
  });
}

async function verify(
  reference: string,
  key: SigningKey,
): Promise<Awaited<ReturnType<typeof verifyImage>>['verdict']> {
  const access = await openRegistries({ mirrors: [], insecureHosts: [] });
  try {
    const policy = policyOf({ require: { kind: 'cosign-key', key: key.public } });
    return (await verifyImage({ reference, namespace: '', policy, registry: access, platform: amd64, now }))
      .verdict;
  } finally {
    await access.close();
  }
}

for (const kind of Object.keys(makers) as (keyof typeof makers)[]) {
  for (const format of ['bundle', 'legacy'] as const) {
    test(
      `a ${format} signature by ${kind} is admitted, and cosign verify --key accepts it`,
      { skip },
      async (t) => {
        const name = `${format}/${kind.toLowerCase().replace(' ', '-')}`;
        const repository = repositoryOf(name);
        const { digest } = await pushImage(repository, name, '1');
        const { key, publicFile } = await newKey(kind);
        const signed = await signImage({ repository, digest, key, format, now });
        assert.equal(signed.digest, digest);
        const verdict = await verify(`${registry.host}/${name}:1`, key);
        assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
        if (cosign === undefined) return t.diagnostic('cosign is not installed: its side was not checked');
        const done = cosignVerify(publicFile, `${registry.host}/${name}@${digest}`);
        assert.equal(done.status, 0, String(done.stderr));
      },
    );
  }
}

test('two keys may sign the older form, and signing again with one adds nothing', { skip }, async () => {
  const repository = repositoryOf('twice');
  const { digest } = await pushImage(repository, 'twice', '1');
  const [first, second] = [await newKey('ECDSA P-256'), await newKey('Ed25519')];
  const sign = (key: SigningKey) => signImage({ repository, digest, key, format: 'legacy', now });
  await sign(first.key);
  const both = await sign(second.key);
  assert.deepEqual(await sign(first.key), both);
  for (const { key } of [first, second])
    assert.equal((await verify(`${registry.host}/twice:1`, key)).outcome, 'admit');
});

test('signing the older form again sends the signature to a log that has not seen it', { skip }, async () => {
  const repository = repositoryOf('log-later');
  const { digest } = await pushImage(repository, 'log-later', '1');
  const { key } = await newKey('ECDSA P-256');
  const services = await startMockSigstore();
  try {
    const witnesses = { logs: [{ url: services.url, version: 1 }], timestamps: [services.url] } as const;
    const entries = async (signer: SigningKey | Signer): Promise<number> => {
      await signImage({ repository, digest, key: signer, format: 'legacy', now });
      const layers = await layersAt(repository, signatureTag(digest));
      return layers.filter(({ annotations }) => annotations?.['dev.sigstore.cosign/bundle'] !== undefined)
        .length;
    };
    assert.equal(await entries(key), 0);
    assert.equal(await entries(keySigner(key, { witnesses })), 1);
    assert.equal(await entries(keySigner(key, { witnesses })), 1);
    assert.equal(await entries(key), 1);
  } finally {
    await services.close();
  }
});

test(
  'an index is signed at its own digest, and with --recursive at each manifest too',
  { skip },
  async () => {
    const repository = repositoryOf('index');
    const { digest, manifests } = await pushIndex(repository, '1');
    const { key } = await newKey('ECDSA P-256');
    const access = await openRegistries({ mirrors: [], insecureHosts: [] });
    const sign = (recursive: boolean) =>
      signReference({
        reference: `${registry.host}/index:1`,
        key,
        format: 'bundle',
        recursive,
        registry: access,
        now,
      });
    assert.deepEqual(
      (await sign(false)).map((one) => one.digest),
      [digest],
    );
    const verdict = await verify(`${registry.host}/index:1`, key);
    assert.deepEqual(
      [verdict.outcome, verdict.digest, verdict.manifestDigest],
      ['admit', digest, manifests[0]],
    );
    assert.deepEqual(
      (await sign(true)).map((one) => one.digest),
      [digest, ...manifests],
    );
    assert.equal((await verify(`${registry.host}/index@${manifests[1]}`, key)).outcome, 'admit');
    await access.close();
  },
);

test(
  'an image that does not exist gives a clear error, and a denied name causes no request to a registry',
  { skip },
  async () => {
    const { key } = await newKey('ECDSA P-256');
    await assert.rejects(verify(`${registry.host}/nowhere:1`, key), /DISTRIBUTION_NOT_FOUND/);
    const nobody = await openRegistries({ mirrors: [], insecureHosts: [] });
    const policy = policyOf({
      images: ['elsewhere.example/**'],
      require: { kind: 'cosign-key', key: key.public },
    });
    const { verdict, dossier } = await verifyImage({
      reference: '127.0.0.1:1/x',
      namespace: '',
      policy,
      registry: nobody,
      now,
    });
    assert.deepEqual([verdict.outcome, dossier], ['deny', undefined]);
    await nobody.close();
  },
);

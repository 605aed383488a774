/**
 * Keys of every type in every file format, with and without a transparency log: cosign and we verify our
 * signatures.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { mediaTypes, parseReference } from '../../base/distribution/index.ts';
import {
  explainVerdict,
  loadPolicy,
  openRegistries,
  openSigner,
  signReference,
  verifyImage,
} from '../../trust/index.ts';
import type { RegistryAccess, SignatureFormat, Verdict } from '../../trust/index.ts';
import { startMockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../../trust/sigstore/fixtures/mock-sigstore.ts';
import { portcullis, runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { startRekor } from '../fixtures/rekor.ts';
import type { TestRekor } from '../fixtures/rekor.ts';
import { findTool } from '../fixtures/tools.ts';

const cosign = findTool('cosign');
const rekorServer = findTool('rekor-server');

const makers = {
  'p-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'p-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'p-521': () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  ed25519: () => generateKeyPairSync('ed25519'),
  'rsa-2048': () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'rsa-4096': () => generateKeyPairSync('rsa', { modulusLength: 4096 }),
} as const;
type KeyType = keyof typeof makers;

type Log = 'no log' | 'Rekor v1' | 'Rekor v2';
const logs: readonly Log[] = ['no log', 'Rekor v1', 'Rekor v2'];

/**
 * Rekor v2 accepts each curve with its own digest, and Ed25519 prehashed, as cosign signs. cosign's `verify
 * --key` uses SHA-256 unless it gets another digest, and does not support Ed25519ph, not even for its own
 * signatures.
 */
const digestFlags: Readonly<Partial<Record<KeyType, readonly string[] | 'never'>>> = {
  'p-384': ['--signature-digest-algorithm', 'sha384'],
  'p-521': ['--signature-digest-algorithm', 'sha512'],
  ed25519: 'never',
};

/** The private key in each format that tools write, because each must be readable. */
const forms: Readonly<Record<Log, (type: KeyType) => string>> = {
  'no log': (type) => `${type}.encrypted.pem`,
  'Rekor v1': (type) =>
    type === 'ed25519' ? 'ed25519.pem' : `${type}.${type.startsWith('rsa') ? 'pkcs1' : 'sec1'}.pem`,
  'Rekor v2': (type) => `${type}.pem`,
};

describe('signatures by keys', () => {
  let folder = '';
  let registry: TestRegistry;
  let access: RegistryAccess;
  let services: MockSigstore;
  let rekor: TestRekor | undefined;
  let environment: NodeJS.ProcessEnv = {};
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-keys-'));
    environment = {
      PATH: process.env['PATH'],
      HOME: folder,
      TUF_ROOT: join(folder, 'tuf'),
      COSIGN_PASSWORD: 'secret',
    };
    registry = await startRegistry();
    access = await openRegistries({ mirrors: [], insecureHosts: [] });
    services = await startMockSigstore();
    rekor = rekorServer.skip === false ? await startRekor() : undefined;
    const root = services.trustedRoot() as { readonly tlogs: readonly object[] };
    writeFileSync(
      join(folder, 'root.json'),
      JSON.stringify({ ...root, tlogs: [...root.tlogs, ...(rekor === undefined ? [] : [rekor.trusted])] }),
    );
    for (const [type, make] of Object.entries(makers)) {
      const { privateKey, publicKey } = make();
      writeFileSync(join(folder, `${type}.pub`), publicKey.export({ type: 'spki', format: 'pem' }));
      const encrypted = { cipher: 'aes-256-cbc', passphrase: 'secret' } as const;
      writeFileSync(join(folder, `${type}.pem`), privateKey.export({ type: 'pkcs8', format: 'pem' }));
      writeFileSync(
        join(folder, `${type}.encrypted.pem`),
        privateKey.export({ type: 'pkcs8', format: 'pem', ...encrypted }),
      );
      if (type.startsWith('p-'))
        writeFileSync(join(folder, `${type}.sec1.pem`), privateKey.export({ type: 'sec1', format: 'pem' }));
      if (type.startsWith('rsa'))
        writeFileSync(join(folder, `${type}.pkcs1.pem`), privateKey.export({ type: 'pkcs1', format: 'pem' }));
    }
  });
  after(async () => {
    await rekor?.close();
    await services.close();
    await access.close();
    await registry.close();
    rmSync(folder, { recursive: true, force: true });
  });

  let made = 0;
  async function publish(): Promise<string> {
    const name = `${registry.host}/image-${(made += 1)}`;
    const image = await buildImage({ base: false });
    const [repository] = await access.repositories(parseReference(name));
    assert.ok(repository);
    await pushImage(repository, image, '1');
    return `${name}@${image.manifestDigest}`;
  }

  async function sign(reference: string, file: string, format: SignatureFormat, log: Log): Promise<void> {
    const url = log === 'Rekor v1' ? services.url : rekor?.url;
    const signer = await openSigner({
      key: join(folder, file),
      passphrase: { environment: { PORTCULLIS_PASSPHRASE: 'secret' } },
      ...(log === 'no log' || url === undefined
        ? {}
        : { log: { url, version: log === 'Rekor v1' ? (1 as const) : (2 as const) } }),
      now: new Date(),
    });
    try {
      await signReference({
        reference,
        key: signer,
        format,
        recursive: false,
        registry: access,
        now: new Date(),
      });
    } finally {
      await signer.close();
    }
  }

  async function ours(reference: string, type: KeyType, log: Log): Promise<Verdict> {
    const file = join(folder, 'policy.json');
    const cosignKey = { key: `${type}.pub`, ...(log === 'no log' ? {} : { log: { root: 'root.json' } }) };
    const rules = [{ images: ['**'], require: { cosign: cosignKey } }];
    writeFileSync(
      file,
      JSON.stringify({ apiVersion: 'portcullis.dev/v1alpha1', kind: 'TrustPolicy', rules }),
    );
    const { policy } = await loadPolicy({ paths: [file] });
    return (await verifyImage({ reference, namespace: '', policy, registry: access, now: new Date() }))
      .verdict;
  }

  function theirs(
    reference: string,
    type: KeyType,
    format: SignatureFormat,
    log: Log,
    more: readonly string[],
  ): Promise<Ended> {
    const flags = [
      ...(log === 'no log'
        ? ['--insecure-ignore-tlog=true', '--private-infrastructure']
        : ['--trusted-root', join(folder, 'root.json')]),
      ...(format === 'legacy' ? ['--new-bundle-format=false'] : []),
      ...more,
    ];
    const words = [
      'verify',
      '--key',
      join(folder, `${type}.pub`),
      '--allow-insecure-registry',
      ...flags,
      reference,
    ];
    return runProgram(cosign.path, words, environment);
  }

  for (const type of Object.keys(makers) as KeyType[]) {
    for (const format of ['bundle', 'legacy'] as const) {
      for (const log of logs) {
        if (format === 'legacy' && log === 'Rekor v2') continue;
        if (type === 'ed25519' && format === 'legacy' && log === 'Rekor v1') continue;
        it(
          `${type}, ${format}, ${log}`,
          { skip: log === 'Rekor v2' ? rekorServer.skip : false },
          async () => {
            const reference = await publish();
            await sign(reference, forms[log](type), format, log);
            const verdict = await ours(reference, type, log);
            assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
            const others = await ours(reference, type === 'p-256' ? 'p-384' : 'p-256', log);
            assert.equal(others.outcome, 'deny', 'another key');
            if (cosign.skip !== false) return;
            const more = log === 'Rekor v2' ? digestFlags[type] : [];
            const judged = await theirs(reference, type, format, log, more === 'never' ? [] : (more ?? []));
            assert.equal(judged.code === 0, more !== 'never', judged.output);
          },
        );
      }
    }

    it(`${type} in cosign's encrypted file`, { skip: cosign.skip }, async () => {
      const prefix = join(folder, `imported-${type}`);
      const imported = await runProgram(
        cosign.path,
        ['import-key-pair', '--key', join(folder, `${type}.pem`), '--output-key-prefix', prefix],
        environment,
      );
      assert.equal(imported.code, 0, imported.output);
      const reference = await publish();
      await sign(reference, `imported-${type}.key`, 'bundle', 'no log');
      const verdict = await ours(reference, type, 'no log');
      assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
    });
  }

  it('an Ed25519 key cannot be used with a Rekor v1 log in the older form', async () => {
    await assert.rejects(sign(await publish(), 'ed25519.pem', 'legacy', 'Rekor v1'), {
      code: 'TRUST_FORMAT_UNFIT',
    });
  });

  it(
    '--recursive signs an index and each manifest of it, with the name and annotations that cosign shows',
    { skip: cosign.skip },
    async () => {
      const name = `${registry.host}/index`;
      const [repository] = await access.repositories(parseReference(name));
      assert.ok(repository);
      const images = [await buildImage({ base: false }), await buildImage({ base: false })];
      for (const image of images) await pushImage(repository, image, image.manifestDigest.slice(7, 17));
      const manifests = images.map((image, at) => ({
        mediaType: mediaTypes.ociManifest,
        digest: image.manifestDigest,
        size: image.manifest.length,
        platform: { os: 'linux', architecture: at === 0 ? 'amd64' : 'arm64' },
      }));
      const index = Buffer.from(
        JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }),
      );
      const { digest } = await repository.pushManifest(index, mediaTypes.ociIndex, { tag: '1' });
      for (const format of ['bundle', 'legacy']) {
        const words = [
          'sign',
          `${name}:1`,
          '--key',
          join(folder, 'p-256.pem'),
          '--recursive',
          '--format',
          format,
        ];
        const signed = await portcullis(
          [...words, '--annotation', 'build=7', '--identity', 'registry.example.com/team/app'],
          environment,
        );
        assert.equal(signed.code, 0, signed.output);
      }
      for (const one of [digest, ...images.map(({ manifestDigest }) => manifestDigest)]) {
        for (const format of ['bundle', 'legacy'] as const) {
          const accepted = await theirs(`${name}@${one}`, 'p-256', format, 'no log', ['-a', 'build=7']);
          assert.equal(accepted.code, 0, accepted.output);
          if (format === 'legacy')
            assert.match(accepted.stdout, /"docker-reference":"registry\.example\.com\/team\/app"/);
          assert.notEqual(
            (await theirs(`${name}@${one}`, 'p-256', format, 'no log', ['-a', 'build=8'])).code,
            0,
            'another annotation',
          );
        }
      }
    },
  );

  it('a log that does not answer is reported, and nothing is pushed', async () => {
    const reference = await publish();
    const signer = await openSigner({
      key: join(folder, 'p-256.pem'),
      passphrase: { environment: {} },
      log: { url: 'http://127.0.0.1:1', version: 2 },
      now: new Date(),
    });
    await assert.rejects(
      signReference({
        reference,
        key: signer,
        format: 'bundle',
        recursive: false,
        registry: access,
        now: new Date(),
      }),
      {
        code: 'TRUST_WITNESS_FAILED',
      },
    );
    assert.equal((await ours(reference, 'p-256', 'no log')).outcome, 'deny');
  });
});

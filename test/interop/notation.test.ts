import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient, mediaTypes } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { explainVerdict, loadPolicy, openRegistries, verifyImage } from '../../trust/index.ts';
import type { TrustPolicy, Verdict } from '../../trust/index.ts';
import { policyKey } from '../../trust/keys/public-key.ts';
import { chainOf, rootExtensions, signerExtensions } from '../../trust/notation/fixtures/authority.ts';
import type { Issued } from '../../trust/notation/fixtures/authority.ts';
import { makeNotationSignature } from '../../trust/notation/sign.ts';
import { keySigner } from '../../trust/signers/signer.ts';
import type { Signer } from '../../trust/signers/signer.ts';
import { signImage } from '../../trust/signing/sign-image.ts';
import { attachEnvelope, openNotation, serveFiles, startEither } from '../fixtures/notation.ts';
import type { NotationGround, Served } from '../fixtures/notation.ts';
import { findTool } from '../fixtures/tools.ts';

const notation = findTool('notation');
const withReferrers = findTool('critimages');
const minute = 60_000;
const amd64 = { os: 'linux', architecture: 'amd64' } as const;

/** {JWS, COSE} × {registry without, with the referrers API} × {index, manifest} × possible defects. */
for (const referrers of [false, true]) {
  const skip = notation.skip || (referrers ? withReferrers.skip : false);
  describe(`notation at a registry ${referrers ? 'with' : 'without'} the referrers API`, { skip }, () => {
    let ground: NotationGround;
    let registry: { readonly host: string; close(): Promise<void> };
    let lists: Served;
    const files = new Map<string, Uint8Array>();
    const client = createRegistryClient();
    let root: Issued;
    let middle: Issued;
    let policy: TrustPolicy;
    let made = 0;

    const chain = (leaf: Issued): readonly Issued[] => [leaf, middle, root];
    const signerOf = (leaf: Issued): Signer => {
      const key = createPrivateKey(readFileSync(leaf.key));
      const half = policyKey(leaf.name, createPublicKey(key));
      assert.ok('spki' in half);
      return keySigner({ public: half, private: key }, { certificates: chainOf(...chain(leaf)) });
    };

    before(async () => {
      ground = openNotation();
      registry = await startEither(referrers);
      lists = await serveFiles(files);
      const { authority } = ground;
      root = authority.issue('root', { extensions: rootExtensions });
      const listed = `crlDistributionPoints=URI:${lists.url}/root.crl`;
      middle = authority.issue('middle', { extensions: [...rootExtensions, listed], by: root });
      const extensions = [...signerExtensions, `crlDistributionPoints=URI:${lists.url}/middle.crl`];
      const foreignRoot = authority.issue('foreign-root', { extensions: rootExtensions });
      const names = { good: 'builder', other: 'somebody else', revoked: 'builder' } as const;
      for (const [name, person] of Object.entries(names))
        ground.addKey(
          name,
          ...chain(
            authority.issue(name, {
              subject: `/C=US/ST=WA/O=example.com/CN=${person}`,
              extensions,
              by: middle,
            }),
          ),
        );
      const foreign = authority.issue('foreign', {
        subject: '/C=US/ST=WA/O=example.com/CN=builder',
        extensions,
        by: foreignRoot,
      });
      ground.addKey('foreign', foreign, foreignRoot);
      files.set('/root.crl', authority.list(root));
      files.set('/middle.crl', authority.list(middle));
      ground.trust('ca', 'example', root);
      const identity = 'x509.subject: C=US, ST=WA, O=example.com, CN=builder';
      const scopes = Array.from({ length: 400 }, (_, index) => `${registry.host}/in/${index}`);
      const statement = {
        name: 'example',
        registryScopes: scopes,
        signatureVerification: { level: 'strict' },
      };
      ground.writePolicy({
        version: '1.0',
        trustPolicies: [{ ...statement, trustStores: ['ca:example'], trustedIdentities: [identity] }],
      });
      const file = join(ground.folder, 'policy.yaml');
      writeFileSync(
        file,
        `apiVersion: portcullis.dev/v1alpha1
kind: TrustPolicy
rules:
  - images: ["${registry.host}/in/*"]
    require: { notation: { truststore: ca/example, folder: config/notation/truststore, identities: ["${identity}"] } }
`,
      );
      policy = (await loadPolicy({ paths: [file] })).policy;
    });
    after(async () => {
      await client.close();
      await lists.close();
      await registry.close();
      ground.close();
    });

    const repositoryOf = (name: string): RegistryRepository => {
      const [repository] = client.repositories({ registry: registry.host, repository: name });
      assert.ok(repository);
      return repository;
    };

    const push = async (name: string): Promise<{ readonly index: string; readonly manifest: string }> => {
      const repository = repositoryOf(name);
      const config = await repository.pushBlob(Buffer.from('{"architecture":"amd64","os":"linux"}'));
      const image = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: mediaTypes.ociManifest,
          config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
          layers: [],
          annotations: { name, number: String((made += 1)) },
        }),
      );
      const { digest: manifest } = await repository.pushManifest(image, mediaTypes.ociManifest);
      const entry = {
        mediaType: mediaTypes.ociManifest,
        digest: manifest,
        size: image.length,
        platform: amd64,
      };
      const index = Buffer.from(
        JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] }),
      );
      return {
        manifest,
        index: (await repository.pushManifest(index, mediaTypes.ociIndex, { tag: '1' })).digest,
      };
    };

    const ours = async (name: string, now = new Date()): Promise<Verdict> => {
      const access = await openRegistries({ mirrors: [], insecureHosts: [] });
      try {
        const reference = `${registry.host}/${name}:1`;
        return (
          await verifyImage({ reference, namespace: '', policy, registry: access, platform: amd64, now })
        ).verdict;
      } finally {
        await access.close();
      }
    };
    const theirs = (name: string, digest: string): ReturnType<NotationGround['notation']> =>
      ground.notation('verify', '--insecure-registry', `${registry.host}/${name}@${digest}`);
    const sign = async (
      name: string,
      digest: string,
      key: string,
      format: string,
      ...more: readonly string[]
    ): Promise<void> => {
      const flags = ['--insecure-registry', '--signature-format', format, '--key', key, ...more];
      const signed = await ground.notation('sign', ...flags, `${registry.host}/${name}@${digest}`);
      assert.equal(signed.code, 0, signed.output);
    };

    /** Returns the signature manifest that refers to a digest, and its envelope. */
    const envelopeAt = async (
      name: string,
      digest: string,
    ): Promise<{ readonly mediaType: string; readonly bytes: Uint8Array }> => {
      const repository = repositoryOf(name);
      const { descriptors } = await repository.referrers(digest);
      assert.equal(descriptors.length, 1);
      const { content } = await repository.manifest(descriptors[0]?.digest ?? '');
      assert.ok(content.kind === 'manifest');
      const [layer] = content.layers;
      assert.ok(layer);
      return { mediaType: layer.mediaType, bytes: await repository.blobBytes(layer, 1 << 20) };
    };
    const attach = (
      name: string,
      digest: string,
      envelope: Parameters<typeof attachEnvelope>[2],
    ): Promise<void> => attachEnvelope(repositoryOf(name), digest, envelope);

    for (const format of ['jws', 'cose'] as const) {
      for (const part of ['index', 'manifest'] as const) {
        const place = (): string => `in/${made}`;
        const cell = async (
          arrange: (name: string, digest: string) => Promise<string | undefined>,
          expected: {
            readonly outcome: Verdict['outcome'];
            readonly code?: string;
            readonly now?: Date;
            readonly judge?: boolean;
          },
        ): Promise<void> => {
          const name = place();
          const digest = (await push(name))[part];
          const where = (await arrange(name, digest)) ?? name;
          const verdict = await ours(where, expected.now);
          assert.equal(verdict.outcome, expected.outcome, explainVerdict(verdict));
          if (expected.code !== undefined)
            assert.match(JSON.stringify(verdict.reasons), new RegExp(`"${expected.code}"`));
          if (expected.judge !== false) {
            const judged = await theirs(where, digest);
            assert.equal(judged.code === 0, expected.outcome === 'admit', judged.output);
          }
        };

        it(`${format} on the ${part}: valid`, () =>
          cell(
            async (name, digest) => {
              await sign(name, digest, 'good', format, '--user-metadata', 'build=7');
              return undefined;
            },
            { outcome: 'admit' },
          ));

        it(`${format} on the ${part}: signed by us`, () =>
          cell(
            async (name, digest) => {
              const signer = signerOf({
                name: 'good',
                key: join(ground.authority.folder, 'good.key'),
                certificate: join(ground.authority.folder, 'good.crt'),
              });
              const input = {
                repository: repositoryOf(name),
                digest,
                key: signer,
                now: new Date(),
                annotations: { build: '7' },
              };
              await signImage({ ...input, format: `notation-${format}` });
              return undefined;
            },
            { outcome: 'admit' },
          ));

        it(`${format} on the ${part}: unsigned`, () =>
          cell(() => Promise.resolve(undefined), { outcome: 'deny' }));

        it(`${format} on the ${part}: another identity of the same authority`, () =>
          cell(
            async (name, digest) => {
              await sign(name, digest, 'other', format);
              return undefined;
            },
            { outcome: 'deny', code: 'TRUST_NOTATION_AUTHENTICITY' },
          ));

        it(`${format} on the ${part}: the same name by another authority`, () =>
          cell(
            async (name, digest) => {
              await sign(name, digest, 'foreign', format);
              return undefined;
            },
            { outcome: 'deny', code: 'TRUST_NOTATION_AUTHENTICITY' },
          ));

        it(`${format} on the ${part}: a signature of another digest`, () =>
          cell(
            async (name, digest) => {
              const elsewhere = (await push('in/source'))[part];
              await sign('in/source', elsewhere, 'good', format);
              await attach(name, digest, await envelopeAt('in/source', elsewhere));
              return undefined;
            },
            { outcome: 'deny', code: 'TRUST_SIGNATURE_OTHER_DIGEST' },
          ));

        it(`${format} on the ${part}: valid, in a repository that the policy does not name`, () =>
          cell(
            async (name) => {
              const outside = name.replace('in/', 'out/');
              await sign(outside, (await push(outside))[part], 'good', format);
              return outside;
            },
            { outcome: 'deny', code: 'TRUST_NO_RULE' },
          ));

        it(`${format} on the ${part}: expired`, async () => {
          const sealed = async (name: string, digest: string): Promise<undefined> => {
            await sign(name, digest, 'good', format, '--expiry', '1m');
          };
          await cell(sealed, { outcome: 'admit' });
          await cell(sealed, {
            outcome: 'deny',
            code: 'TRUST_NOTATION_EXPIRY',
            now: new Date(Date.now() + 2 * minute),
            judge: false,
          });
        });

        it(`${format} on the ${part}: expired by our clock and by notation's`, () =>
          cell(
            async (name, digest) => {
              const signer = signerOf({
                name: 'good',
                key: join(ground.authority.folder, 'good.key'),
                certificate: join(ground.authority.folder, 'good.crt'),
              });
              const past = (minutes: number): Date => new Date(Date.now() - minutes * minute);
              const { mediaType, size } = await repositoryOf(name).resolve(digest);
              const target = { mediaType, digest, size, annotations: {} };
              const made = await makeNotationSignature({
                format,
                target,
                signer,
                now: past(10),
                expiry: past(5),
              });
              await attach(name, digest, { mediaType: made.mediaType, bytes: made.envelope });
              return undefined;
            },
            { outcome: 'deny', code: 'TRUST_NOTATION_EXPIRY' },
          ));

        it(`${format} on the ${part}: revoked since`, () =>
          cell(
            async (name, digest) => {
              await sign(name, digest, 'revoked', format);
              revoke();
              ground.forget();
              return undefined;
            },
            { outcome: 'deny', code: 'TRUST_NOTATION_REVOCATION' },
          ));

        it(`${format} on the ${part}: its authority's revocation list cannot be fetched`, async () => {
          const saved = files.get('/middle.crl');
          files.delete('/middle.crl');
          try {
            await cell(
              async (name, digest) => {
                await sign(name, digest, 'good', format);
                return undefined;
              },
              // notation may have cached the list. It has no third answer.
              { outcome: 'undecided', code: 'TRUST_NOTATION_REVOCATION', judge: false },
            );
          } finally {
            if (saved !== undefined) files.set('/middle.crl', saved);
          }
        });

        for (const at of [0.15, 0.99]) {
          it(`${format} on the ${part}: a byte flipped at ${at * 100} %`, () =>
            cell(
              async (name, digest) => {
                const elsewhere = place();
                await sign(name, digest, 'good', format);
                const envelope = await envelopeAt(name, digest);
                const bytes = Buffer.from(envelope.bytes);
                const position = Math.floor(bytes.length * at);
                bytes[position] = (bytes[position] ?? 0) ^ 1;
                const copy = (await push(elsewhere))[part];
                assert.notEqual(copy, digest);
                await copyImage(name, elsewhere);
                await attach(elsewhere, digest, { ...envelope, bytes });
                return elsewhere;
              },
              { outcome: 'deny' },
            ));
        }
      }
    }

    let isRevoked = false;
    function revoke(): void {
      const { authority } = ground;
      const at = (suffix: string): string => join(authority.folder, `revoked.${suffix}`);
      if (!isRevoked) authority.revoke(middle, { name: 'revoked', key: at('key'), certificate: at('crt') });
      isRevoked = true;
      files.set('/middle.crl', authority.list(middle));
    }

    /** Copies the image, with the same digests, to another repository. */
    async function copyImage(from: string, to: string): Promise<void> {
      const [source, target] = [repositoryOf(from), repositoryOf(to)];
      const index = await source.manifest('1');
      assert.ok(index.content.kind === 'index');
      for (const entry of index.content.manifests) {
        const { bytes, mediaType, content } = await source.manifest(entry);
        assert.ok(content.kind === 'manifest');
        await target.pushBlob(await source.blobBytes(content.config, 1 << 20));
        await target.pushManifest(bytes, mediaType);
      }
      await target.pushManifest(index.bytes, index.mediaType, { tag: '1' });
    }
  });
}

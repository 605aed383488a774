import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { createRegistryClient, digestOf, fallbackTag, parseManifest } from '../../base/distribution/index.ts';
import type { FetchedManifest, RegistryClient, RegistryRepository } from '../../base/distribution/index.ts';
import { findRegistry, startRegistry } from '../../test/fixtures/registry.ts';
import type { TestRegistry } from '../../test/fixtures/registry.ts';
import { signatureTag } from '../evidence/cosign-names.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { policyKey } from '../keys/public-key.ts';
import { copyToTag } from './attach.ts';
import { signImage } from './sign-image.ts';
import type { SignatureFormat } from './sign-image.ts';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';

function newKey(name: string): SigningKey {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = policyKey(name, pair.publicKey);
  assert.ok('spki' in key);
  return { public: key, private: pair.privateKey };
}

// Debian's registry has neither the referrers API nor conditional writes. Each client represents a process:
// the clients share nothing.
describe(
  'signers at the same moment',
  { skip: findRegistry() === undefined ? 'no docker-registry' : false },
  () => {
    let registry: TestRegistry;
    const clients: RegistryClient[] = [];
    const repository = (options: { tagSettleMs?: number } = {}): RegistryRepository => {
      const client = createRegistryClient(options);
      clients.push(client);
      const [first] = client.repositories({ registry: registry.host, repository: 'app' });
      assert.ok(first);
      return first;
    };
    const image = async (note: string): Promise<string> => {
      const at = repository();
      const config = {
        ...(await at.pushBlob(Buffer.from('{}'))),
        mediaType: 'application/vnd.oci.image.config.v1+json',
      };
      const bytes = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: manifestType,
          config,
          layers: [],
          annotations: { note },
        }),
      );
      return (await at.pushManifest(bytes, manifestType)).digest;
    };
    before(async () => {
      registry = await startRegistry();
    });
    after(async () => {
      await Promise.all(clients.map((client) => client.close()));
      await registry.close();
    });

    const entries = async (digest: string, format: SignatureFormat): Promise<number> => {
      const { content } = await repository().manifest(
        format === 'bundle' ? fallbackTag(digest) : signatureTag(digest),
      );
      return (content.kind === 'index' ? content.manifests : content.layers).length;
    };

    test('all of eight signatures that are copied to one tag exist at the end', async () => {
      const digest = await image('copied');
      const tag = signatureTag(digest);
      const signed = repository();
      const copies: FetchedManifest[] = [];
      for (const index of Array.from({ length: 8 }).keys()) {
        const key = newKey(`${index}.pub`);
        await signImage({ repository: signed, digest, key, format: 'legacy', now: new Date() });
        const all = await signed.manifest(tag);
        const { layers, ...rest } = JSON.parse(Buffer.from(all.bytes).toString()) as { layers: unknown[] };
        const bytes = Buffer.from(JSON.stringify({ ...rest, layers: layers.slice(-1) }));
        const content = parseManifest(bytes, manifestType, { attempted: '', on: '' });
        copies.push({ ...all, bytes, digest: digestOf(bytes), content });
      }
      const copy = signatureTag(digestOf('copy'));
      await Promise.all(copies.map((copied) => copyToTag(repository(), copy, copied)));
      const { content } = await signed.manifest(copy);
      assert.equal(content.kind === 'manifest' && content.layers.length, 8);
    });

    for (const format of ['bundle', 'legacy'] as const) {
      test(`all of eight signatures in the form ${format} exist at the end`, async () => {
        const digest = await image(`eight ${format}`);
        const keys = Array.from({ length: 8 }, (_, index) => newKey(`${index}.pub`));
        await Promise.all(
          keys.map((key) => signImage({ repository: repository(), digest, key, format, now: new Date() })),
        );
        assert.equal(await entries(digest, format), 8);
      });

      test(`a writer that drops layers that it has not seen does not remove our signature in the form ${format}`, async () => {
        const digest = await image(`rude ${format}`);
        const tag = format === 'bundle' ? fallbackTag(digest) : signatureTag(digest);
        const rude = repository();
        await signImage({ repository: rude, digest, key: newKey('first.pub'), format, now: new Date() });
        const old = await rude.manifest(tag);
        // Our client watches the tag for longer than the other client takes from its read to its write, even
        // on a busy machine.
        const patient = repository({ tagSettleMs: 1000 });
        const signing = signImage({
          repository: patient,
          digest,
          key: newKey('ours.pub'),
          format,
          now: new Date(),
        });
        let isSigned = false;
        const signed = signing.then(() => (isSigned = true));
        // The other client writes twice, as soon as it sees our signature. A write long after ours was
        // confirmed would always win.
        for (let turn = 0; turn < 2 && !isSigned;) {
          // The registry cannot read a tag while it writes it.
          const now = await rude.manifest(tag).catch(() => old);
          if (now.digest === old.digest) await sleep(5);
          else {
            await rude.pushManifest(old.bytes, old.mediaType, { tag });
            turn++;
          }
        }
        await signed;
        assert.equal(await entries(digest, format), 2);
      });
    }
  },
);

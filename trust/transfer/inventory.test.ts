import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { digestOf } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { attestationTag, signatureTag } from '../evidence/cosign-names.ts';
import { defaultTufTag } from '../tuf-client/oci-source.ts';
import { copyImage } from './copy-image.ts';
import { inventoryOf, isComplete, lostInCopy } from './inventory.ts';
import type { ImageInventory } from './inventory.ts';
import { openLayout } from './layout.ts';
import type { LayoutRepository } from './layout.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-inventory-'));
after(() => rmSync(home, { recursive: true }));
const newLayout = (): Promise<LayoutRepository> => openLayout(mkdtempSync(join(home, 'layout-')));

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const indexType = 'application/vnd.oci.image.index.v1+json';
const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json';

interface Pushed {
  readonly digest: string;
  readonly size: number;
}

async function push(
  layout: RegistryRepository,
  label: string,
  more: Readonly<Record<string, unknown>> = {},
  tag?: string,
): Promise<Pushed> {
  const { digest, size } = await layout.pushBlob(Buffer.from(`{"label":"${label}"}`));
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size },
      layers: [],
      ...more,
    }),
  );
  const pushed = await layout.pushManifest(manifest, manifestType, tag === undefined ? {} : { tag });
  if (more['subject'] !== undefined) await layout.pushReferrer(manifest, manifestType);
  return { digest: pushed.digest, size: manifest.length };
}

const about = ({ digest, size }: Pushed): object => ({
  subject: { mediaType: manifestType, digest, size },
});

/**
 * An index of two platforms, with a signature, its own signature, an SBOM of one platform, and older tags.
 */
async function published(): Promise<{ layout: LayoutRepository; index: string; platforms: Pushed[] }> {
  const layout = await newLayout();
  const platforms = [await push(layout, 'amd64'), await push(layout, 'arm64')];
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: indexType,
      manifests: platforms.map(({ digest, size }, at) => ({
        mediaType: manifestType,
        digest,
        size,
        platform: { os: 'linux', architecture: ['amd64', 'arm64'][at] },
      })),
    }),
  );
  const { digest: index } = await layout.pushManifest(bytes, indexType, { tag: '1' });
  const signature = await push(layout, 'signature', {
    artifactType: bundleType,
    annotations: { 'dev.sigstore.bundle.predicateType': 'https://sigstore.dev/cosign/sign/v1' },
    ...about({ digest: index, size: bytes.length }),
  });
  await push(layout, 'witness', { artifactType: 'application/vnd.example.witness', ...about(signature) });
  await push(layout, 'sbom', { artifactType: 'application/spdx+json', ...about(platforms[0] as Pushed) });
  await push(layout, 'old', {}, signatureTag(index));
  await push(layout, 'older', {}, attestationTag(platforms[1]?.digest ?? ''));
  await push(layout, 'metadata', {}, defaultTufTag);
  return { layout, index, platforms };
}

test('the inventory names platforms, referrers, referrers of referrers, older tags and metadata', async () => {
  const { layout, index, platforms } = await published();
  const inventory = await inventoryOf(layout, '1');
  assert.equal(inventory.digest, index);
  assert.deepEqual(
    inventory.manifests,
    platforms.map(({ digest }) => digest),
  );
  assert.deepEqual(inventory.pieces.map(({ form, what }) => `${form}: ${what}`).sort(), [
    'referrer: application/spdx+json',
    'referrer: application/vnd.example.witness',
    'referrer: signature (sigstore bundle)',
    'tag: attestations (cosign, older form)',
    'tag: signatures (cosign, older form)',
  ]);
  assert.notEqual(inventory.metadata, undefined);
});

test('a complete copy lacks nothing', async () => {
  const { layout } = await published();
  const to = await newLayout();
  await copyImage({ from: layout, to, reference: 'r.example/a:1', wanted: '1', tag: '1' });
  const lost = lostInCopy(await inventoryOf(layout, '1'), await inventoryOf(to, '1'));
  assert.deepEqual(lost, { manifests: [], pieces: [], metadata: false });
  assert.ok(isComplete(lost));
});

test('pieces that a tool dropped are named: referrers, tags, platforms, metadata', async () => {
  const { layout, index, platforms } = await published();
  const to = await newLayout();
  // As a tool that copies the index with one platform.
  for (const wanted of [platforms[0]?.digest ?? '', index]) {
    const { bytes, mediaType } = await layout.manifest(wanted);
    await to.pushManifest(bytes, mediaType, wanted === index ? { tag: '1' } : {});
  }
  const copy = await inventoryOf(to, '1');
  assert.deepEqual(copy.absentManifests, [platforms[1]?.digest]);
  const lost = lostInCopy(await inventoryOf(layout, '1'), copy);
  assert.deepEqual(lost.manifests, [platforms[1]?.digest]);
  assert.equal(lost.pieces.length, 5);
  assert.ok(lost.metadata);
  assert.equal(lost.otherDigest, undefined);
  assert.ok(!isComplete(lost));
});

test('a copy of one platform under the tag is another image', async () => {
  const { layout, platforms } = await published();
  const to = await newLayout();
  const { bytes, mediaType } = await layout.manifest(platforms[0]?.digest ?? '');
  await to.pushManifest(bytes, mediaType, { tag: '1' });
  const lost = lostInCopy(await inventoryOf(layout, '1'), await inventoryOf(to, '1'));
  assert.equal(lost.otherDigest, platforms[0]?.digest);
  assert.ok(!isComplete(lost));
});

test('other content under a tag counts as lost', async () => {
  const { layout, index } = await published();
  const to = await newLayout();
  await copyImage({ from: layout, to, reference: 'r.example/a:1', wanted: '1', tag: '1' });
  await push(to, 'replaced', {}, signatureTag(index));
  const lost = lostInCopy(await inventoryOf(layout, '1'), await inventoryOf(to, '1'));
  assert.deepEqual(
    lost.pieces.map(({ name }) => name),
    [signatureTag(index)],
  );
});

test('a tag of the copy that also has signatures of its own is not lost', async () => {
  const signature = (text: string): object => ({
    mediaType: 'application/vnd.dev.cosign.simplesigning.v1+json',
    digest: digestOf(Buffer.from('payload')),
    size: 7,
    annotations: { 'dev.cosignproject.cosign/signature': text },
  });
  const inventoryWith = async (...texts: readonly string[]): Promise<ImageInventory> => {
    const layout = await newLayout();
    const { digest } = await push(layout, 'image', {}, '1');
    await push(layout, 'signatures', { layers: texts.map(signature) }, signatureTag(digest));
    return inventoryOf(layout, '1');
  };
  const copy = await inventoryWith('of the mirror', 'one');
  assert.ok(isComplete(lostInCopy(await inventoryWith('one'), copy)));
  assert.equal(lostInCopy(await inventoryWith('one', 'two'), copy).pieces.length, 1);
});

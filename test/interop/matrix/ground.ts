import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRegistryClient, mediaTypes } from '../../../base/distribution/index.ts';
import type { RegistryRepository } from '../../../base/distribution/index.ts';
import { loadPolicy, openRegistries, verifyImage } from '../../../trust/index.ts';
import type { TrustPolicy, Verdict } from '../../../trust/index.ts';
import { startEither } from '../../fixtures/notation.ts';

export const parts = ['index', 'manifest'] as const;
export type Part = (typeof parts)[number];

/** An image in the registry, under the tag `1`. */
export interface Published {
  readonly repository: RegistryRepository;
  readonly index: string;
  readonly manifest: string;
  /** The signed digest: of the index or of the manifest. */
  readonly digest: string;
  /** `HOST/REPOSITORY@DIGEST`. */
  readonly target: string;
  /** `HOST/REPOSITORY:1`. */
  readonly reference: string;
}

/** A registry, its images, and our verdicts on them. */
export interface Ground {
  readonly host: string;
  /** The folder for keys, roots and policies. */
  readonly folder: string;
  publish(name: string, part: Part): Promise<Published>;
  /** Copies the image, with the same digests, to another repository. */
  copy(image: Published, name: string): Promise<Published>;
  load(name: string, rules: string): Promise<TrustPolicy>;
  verdict(image: Published, policy: TrustPolicy): Promise<Verdict>;
  close(): Promise<void>;
}

const platform = { os: 'linux', architecture: 'amd64' } as const;

export async function openGround(withReferrers: boolean): Promise<Ground> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-matrix-'));
  const registry = await startEither(withReferrers);
  const client = createRegistryClient();
  const access = await openRegistries({ mirrors: [], insecureHosts: [] });
  const { host } = registry;
  let made = 0;
  const place = (name: string, index: string, manifest: string, part: Part): Published => {
    const [repository] = client.repositories({ registry: host, repository: name });
    if (repository === undefined) throw new Error(`no repository ${name}`);
    const digest = part === 'index' ? index : manifest;
    return {
      repository,
      index,
      manifest,
      digest,
      target: `${host}/${name}@${digest}`,
      reference: `${host}/${name}:1`,
    };
  };
  const push = async (
    repository: RegistryRepository,
    config: Uint8Array,
    manifest: Uint8Array,
    index: Uint8Array,
  ): Promise<void> => {
    await repository.pushBlob(config);
    await repository.pushManifest(manifest, mediaTypes.ociManifest);
    await repository.pushManifest(index, mediaTypes.ociIndex, { tag: '1' });
  };
  return {
    host,
    folder,
    async publish(name, part) {
      const config = Buffer.from(
        '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
      );
      const { repository } = place(name, '', '', part);
      const pushed = await repository.pushBlob(config);
      const manifest = json({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: { ...pushed, mediaType: 'application/vnd.oci.image.config.v1+json' },
        layers: [],
        annotations: { number: String((made += 1)) },
      });
      const { digest } = await repository.pushManifest(manifest, mediaTypes.ociManifest);
      const entry = { mediaType: mediaTypes.ociManifest, digest, size: manifest.length, platform };
      const index = json({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] });
      return place(
        name,
        (await repository.pushManifest(index, mediaTypes.ociIndex, { tag: '1' })).digest,
        digest,
        part,
      );
    },
    async copy(image, name) {
      const [index, manifest] = await Promise.all([
        image.repository.manifest(image.index),
        image.repository.manifest(image.manifest),
      ]);
      if (manifest.content.kind !== 'manifest') throw new Error('not a manifest');
      const config = await image.repository.blobBytes(manifest.content.config, 1 << 20);
      const copy = place(
        name,
        image.index,
        image.manifest,
        image.digest === image.index ? 'index' : 'manifest',
      );
      await push(copy.repository, config, manifest.bytes, index.bytes);
      return copy;
    },
    async load(name, rules) {
      const file = join(folder, `${name}.yaml`);
      writeFileSync(file, `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n${rules}`);
      return (await loadPolicy({ paths: [file] })).policy;
    },
    verdict: async ({ reference }, policy) =>
      (await verifyImage({ reference, namespace: '', policy, registry: access, platform, now: new Date() }))
        .verdict,
    async close() {
      await access.close();
      await client.close();
      await registry.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import type { Header } from 'tar-stream';
import { createRegistryClient, formatReference } from '../../base/distribution/index.ts';
import type { RegistryClient, RegistryRepository } from '../../base/distribution/index.ts';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { openDatabase } from '../../base/storage/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { loadPolicy, loadSigningKey, signImage } from '../../trust/index.ts';
import type { SigningKey, TrustPolicy } from '../../trust/index.ts';
import { verdictLogMigrations } from '../../trust/verdict-log/index.ts';
import { createImageStore } from './image-store.ts';
import type { ImageStoreOptions, OpenImageStore } from './image-store.ts';
import type { ImageLimits } from './limits/limits.ts';
import { imageMigrations } from './schema.ts';

/**
 * Helpers for the tests of `runtime/images`: layers, images in a real registry, stores on the real kernel.
 * Not part of the product.
 */

export type Entry = Partial<Header> & { readonly name: string; readonly body?: string | Uint8Array };

export async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  const chunks: Buffer[] = [];
  const ended = (async () => {
    for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
  })();
  for (const { body, ...header } of entries) {
    const bytes = Buffer.from(body ?? '');
    archive.entry(
      { mode: header.type === 'directory' ? 0o755 : 0o644, mtime: new Date(1_000_000_000_000), ...header },
      bytes,
    );
  }
  archive.finalize();
  await ended;
  return Buffer.concat(chunks);
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export interface LayerSource {
  readonly tar: Uint8Array;
  /** As pushed; by default the gzip of the archive. */
  readonly blob?: Uint8Array;
  readonly mediaType?: string;
}

export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
export const ociIndex = 'application/vnd.oci.image.index.v1+json';
const ociConfig = 'application/vnd.oci.image.config.v1+json';
const ociLayer = 'application/vnd.oci.image.layer.v1.tar+gzip';

/**
 * Pushes an image and returns the digest of its manifest. `manifest` and `config` change the documents before
 * they are pushed.
 */
export async function pushImage(
  repository: RegistryRepository,
  image: {
    readonly layers: readonly LayerSource[];
    readonly tag?: string;
    readonly label?: string;
    readonly config?: Readonly<Record<string, unknown>>;
    readonly manifest?: Readonly<Record<string, unknown>>;
  },
): Promise<{ readonly digest: string; readonly id: string; readonly size: number }> {
  const descriptors = [];
  for (const { tar, blob = gzipSync(tar, { level: 1 }), mediaType = ociLayer } of image.layers) {
    descriptors.push({ ...(await repository.pushBlob(blob)), mediaType });
  }
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'], Labels: { test: image.label ?? randomUUID() } },
      rootfs: { type: 'layers', diff_ids: image.layers.map(({ tar }) => sha256(tar)) },
      ...image.config,
    }),
  );
  const pushed = await repository.pushBlob(config);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: { ...pushed, mediaType: ociConfig },
      layers: descriptors,
      ...image.manifest,
    }),
  );
  const { digest } = await repository.pushManifest(
    manifest,
    ociManifest,
    image.tag === undefined ? {} : { tag: image.tag },
  );
  return { digest, id: pushed.digest, size: config.length };
}

/** Whether the tests of this process store layers as EROFS files. */
export const storesFiles = process.env['PORTCULLIS_TEST_LAYERS'] === 'erofs';

/**
 * Returns the path of a file with the content of a layer: of one of its files, named by `name`, or of all.
 */
export function contentOf(layer: string, name: string): string {
  return storesFiles ? `${layer}/layer.erofs` : `${layer}/fs/${name}`;
}

export interface Kit {
  readonly folder: string;
  readonly root: string;
  readonly client: RegistryClient;
  readonly kernel: Kernel;
  readonly database: Database;
  readonly store: OpenImageStore;
  readonly key: SigningKey;
  repository(name: string): RegistryRepository;
  reference(name: string, tag?: string): string;
  sign(name: string, digest: string): Promise<void>;
  /** Replaces the policy in force; the rules are YAML, and `k.pub` is the kit's key. */
  usePolicy(rules: string | undefined): Promise<void>;
  /** Closes the store and opens it again on the same files. */
  reopen(changes?: Parameters<typeof openKit>[1]): Promise<Kit>;
  /** `keep`: the folder stays. */
  close(options?: { readonly keep?: boolean }): Promise<void>;
}

/**
 * Opens a store in its own folder against the registry at `host`; images below `HOST/signed/` need a
 * signature by the kit's key, images below `HOST/open/` need none.
 */
export async function openKit(
  host: string,
  options: {
    readonly folder?: string;
    readonly limits?: Partial<ImageLimits>;
    /** The form of layers; by default that of the environment variable PORTCULLIS_TEST_LAYERS, or folders. */
    readonly layers?: ImageStoreOptions['layers'];
    /** Reads the files of layouts; by default this process does. */
    readonly givenFiles?: ImageStoreOptions['givenFiles'];
    /** Whether images with a signed chunk index are started lazily; their layers are files then. */
    readonly lazy?: boolean;
    readonly log?: Logger;
    /** Changes the kernel that the store gets. */
    readonly kernel?: (kernel: Kernel) => Kernel;
  } = {},
): Promise<Kit> {
  const folder = options.folder ?? mkdtempSync('/var/tmp/portcullis-images-');
  if (!existsSync(`${folder}/k.key`)) {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(`${folder}/k.key`, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), {
      mode: 0o600,
    });
    writeFileSync(`${folder}/k.pub`, pair.publicKey.export({ type: 'spki', format: 'pem' }));
  }
  const key = await loadSigningKey(`${folder}/k.key`, { environment: {} });
  const client = createRegistryClient({ tagSettleMs: 0 });
  const kernel = await startKernelWorker();
  const migrations = [
    verdictLogMigrations[0],
    ...imageMigrations,
    verdictLogMigrations[1],
    verdictLogMigrations[2],
  ].map((sql, index) => ({
    version: index + 1,
    sql,
  }));
  const database = await openDatabase({ path: `${folder}/state.db`, migrations });
  let policy: TrustPolicy | undefined;
  const usePolicy = async (rules: string | undefined): Promise<void> => {
    if (rules === undefined) {
      policy = undefined;
      return;
    }
    writeFileSync(
      `${folder}/policy.yaml`,
      `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules:\n${rules}`,
    );
    ({ policy } = await loadPolicy({ paths: [`${folder}/policy.yaml`] }));
  };
  await usePolicy(
    `  - images: ["${host}/signed/**"]\n    require: { cosign: { key: k.pub } }\n  - images: ["${host}/open/**"]\n    allow: unverified\n`,
  );
  const root = `${folder}/images`;
  const store = await createImageStore({
    root,
    database,
    kernel: options.kernel?.(kernel) ?? kernel,
    layers: options.layers ?? (storesFiles || options.lazy === true ? 'erofs' : 'folders'),
    registryClient: client,
    registryOptions: {},
    policy: () => policy,
    log: options.log ?? createLogger({ level: 'silent' }),
    ...(options.lazy === undefined ? {} : { lazy: { isOn: options.lazy, socket: `${folder}/filler.sock` } }),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    ...(options.givenFiles === undefined ? {} : { givenFiles: options.givenFiles }),
  });
  const repository = (name: string): RegistryRepository => {
    const [first] = client.repositories({ registry: host, repository: name });
    if (first === undefined) throw new Error('no repository');
    return first;
  };
  const end = async (): Promise<void> => {
    await store.close();
    await database.close();
    await kernel.close();
    await client.close();
  };
  return {
    folder,
    root,
    client,
    kernel,
    database,
    store,
    key,
    repository,
    reference: (name, tag = '1') => formatReference({ registry: host, repository: name, tag }),
    sign: async (name, digest) =>
      void (await signImage({
        repository: repository(name),
        digest,
        key,
        format: 'bundle',
        now: new Date(),
      })),
    usePolicy,
    async reopen(changes = {}) {
      await end();
      return openKit(host, { ...options, ...changes, folder });
    },
    async close(closing = {}) {
      await end();
      if (closing.keep !== true) rmSync(folder, { recursive: true });
    },
  };
}

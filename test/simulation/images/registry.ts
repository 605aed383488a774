import { hash } from 'node:crypto';
import { PortcullisError } from '../../../base/errors/index.ts';
import type {
  FetchedManifest,
  RegistryClient,
  RegistryRepository,
} from '../../../base/distribution/index.ts';
import { call, machine } from './machine.ts';

/**
 * A layer of the simulated registry: its blob is this object as JSON, with data that makes two blobs of the
 * same layer differ.
 */
export interface LayerContent {
  readonly files: readonly (readonly [name: string, text: string])[];
  /** Its content depends on the layers below. */
  readonly dependent: boolean;
}

const digestOf = (text: string): string => `sha256:${hash('sha256', text, 'hex')}`;
const diffIdOf = (layer: LayerContent): string => digestOf(`diff ${JSON.stringify(layer)}`);

/**
 * Returns the layer to which the bytes of a blob unpack; undefined if they are incomplete, or of another
 * layer.
 */
export function readLayer(blob: string, diffId: string): LayerContent | undefined {
  try {
    const { layer } = JSON.parse(blob) as { layer: LayerContent };
    return diffIdOf(layer) === diffId ? layer : undefined;
  } catch {
    return undefined;
  }
}

const layerOf = (name: string, dependent = false): LayerContent => ({
  files: [
    [`${name}-1`, `the first file of ${name}`],
    [`${name}-2`, `the second file of ${name}`],
  ],
  dependent,
});
const base = layerOf('base');
const middle = layerOf('middle');
const other = layerOf('other');
const linked = layerOf('linked', true);

/** The layers of each repository's image. `odd` is the layer of `middle` in another blob. */
const contents: Readonly<
  Record<string, readonly { readonly layer: LayerContent; readonly odd?: boolean }[]>
> = {
  'open/a': [{ layer: base }, { layer: middle }],
  'open/b': [{ layer: base }, { layer: other }],
  'open/c': [{ layer: base }, { layer: middle }, { layer: linked }],
  'open/d': [{ layer: other }, { layer: middle, odd: true }],
  'denied/e': [{ layer: other }, { layer: base }],
};

export interface SimulatedImage {
  readonly repository: string;
  readonly id: string;
  readonly digest: string;
  readonly layers: readonly LayerContent[];
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const blobs = new Map<string, string>();
const manifests = new Map<string, string>();

function put(text: string): { readonly digest: string; readonly size: number } {
  blobs.set(digestOf(text), text);
  return { digest: digestOf(text), size: text.length };
}

function makeImage(repository: string): SimulatedImage {
  const layers = contents[repository] ?? [];
  const descriptors = layers.map(({ layer, odd = false }) => ({
    ...put(JSON.stringify({ layer, padding: odd ? 'odd' : '' })),
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  }));
  const config = put(
    JSON.stringify({
      ...{ os: 'linux', architecture: 'amd64', config: { Labels: { repository } } },
      rootfs: { type: 'layers', diff_ids: layers.map(({ layer }) => diffIdOf(layer)) },
    }),
  );
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
    layers: descriptors,
  });
  manifests.set(digestOf(manifest), manifest);
  return {
    repository,
    id: config.digest,
    digest: digestOf(manifest),
    layers: layers.map(({ layer }) => layer),
  };
}

export const images: readonly SimulatedImage[] = Object.keys(contents).map(makeImage);

/** The required contents by layer folder, which is named by the diff id or the chain id. */
export const layersByFolder: ReadonlyMap<string, LayerContent> = new Map(
  images.flatMap(({ layers }) => {
    let chain = '';
    return layers.flatMap((layer) => {
      chain = chain === '' ? diffIdOf(layer) : digestOf(`${chain} ${diffIdOf(layer)}`);
      return [diffIdOf(layer), chain].map((digest) => [digest.slice('sha256:'.length), layer] as const);
    });
  }),
);

/** @param tags the digest of a manifest by repository and tag */
export function simulatedRegistry(tags: ReadonlyMap<string, string>): Pick<RegistryClient, 'repositories'> {
  return { repositories: ({ registry, repository }) => [placeOf(registry, repository, tags)] };
}

function placeOf(host: string, repository: string, tags: ReadonlyMap<string, string>): RegistryRepository {
  const served = async <T>(what: string, signal: AbortSignal | undefined, body: () => T): Promise<T> => {
    const answer = await call('read', what, repository, body);
    signal?.throwIfAborted();
    return answer;
  };
  const place: Partial<RegistryRepository> = {
    host,
    repository,
    manifest: (wanted, signal) =>
      served('manifest of', signal, () => {
        const digest =
          typeof wanted !== 'string'
            ? wanted.digest
            : wanted.includes(':')
              ? wanted
              : tags.get(`${repository}:${wanted}`);
        const text = manifests.get(digest ?? '');
        if (digest === undefined || text === undefined) throw missing(repository);
        return { digest, mediaType: manifestType, bytes: Buffer.from(text) } as unknown as FetchedManifest;
      }),
    blobBytes: ({ digest }, _limit, signal) =>
      served('configuration of', signal, () => Buffer.from(blobs.get(digest) ?? '')),
    async blob({ digest }, signal, begun) {
      const pieces: Uint8Array[] = [];
      for await (const piece of begun ?? []) pieces.push(piece);
      const here = Buffer.concat(pieces).toString('latin1');
      return served('blob of', signal, () => stream(blobs.get(digest) ?? '', here, signal));
    },
  };
  return place as RegistryRepository;
}

/** Streams the rest after the given text in two pieces; the connection may end between them. */
async function* stream(
  text: string,
  here: string,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  const rest = text.slice(here.length);
  const half = Math.ceil(rest.length / 2);
  for (const piece of [rest.slice(0, half), rest.slice(half)]) {
    await machine().life.act('read', 'bytes of a blob', () => undefined);
    signal?.throwIfAborted();
    yield Buffer.from(piece, 'latin1');
  }
  if (!text.startsWith(here)) throw mismatch(here);
}

function mismatch(here: string): PortcullisError {
  const why = `the ${here.length} bytes that were here belong to another blob`;
  return new PortcullisError({
    code: 'DISTRIBUTION_DIGEST_MISMATCH',
    kind: 'data-loss',
    attempted: 'fetch blob',
    on: 'blob',
    why,
    fix: 'fetch it again',
  });
}

function missing(on: string): PortcullisError {
  return new PortcullisError({
    ...{
      code: 'DISTRIBUTION_NOT_FOUND',
      kind: 'not-found',
      attempted: 'fetch manifest',
      on,
      why: 'there is none',
      fix: 'push it',
    },
  });
}

import { mediaTypes } from '../../../base/distribution/index.ts';
import type { Descriptor } from '../../../base/distribution/index.ts';
import type { Published } from './ground.ts';

type Json = Record<string, unknown>;

/** One signature as a registry stores it: the bytes and their annotations. */
export interface Signature {
  readonly bytes: Buffer;
  readonly annotations: Readonly<Record<string, string>>;
}

export type Change = (signature: Signature) => Signature;

/**
 * Attaches every artifact that refers to `from` to `to`, with the same manifest except for subject and
 * changed content.
 */
export async function carryReferrers(from: Published, to: Published, change: Change = same): Promise<void> {
  const { descriptors } = await from.repository.referrers(from.digest);
  if (descriptors.length === 0) throw new Error(`nothing refers to ${from.target}`);
  for (const { digest } of descriptors) {
    const manifest = JSON.parse(
      Buffer.from((await from.repository.manifest(digest)).bytes).toString(),
    ) as Json & {
      config: Descriptor;
      layers: Descriptor[];
    };
    const [layer] = manifest.layers;
    if (layer === undefined) throw new Error(`${digest} has no layer`);
    const { bytes } = change({
      bytes: Buffer.from(await from.repository.blobBytes(layer, 1 << 20)),
      annotations: {},
    });
    await to.repository.pushBlob(await from.repository.blobBytes(manifest.config, 1 << 20));
    const changed = {
      ...manifest.layers[0],
      ...(await to.repository.pushBlob(bytes)),
      mediaType: layer.mediaType,
    };
    const { mediaType, size } = await to.repository.resolve(to.digest);
    const subject = { mediaType, digest: to.digest, size };
    await to.repository.pushReferrer(
      Buffer.from(JSON.stringify({ ...manifest, layers: [changed], subject })),
      mediaTypes.ociManifest,
    );
  }
}

/** Does the same for cosign's older form: the layers of the tag `sha256-….sig`. */
export async function carryTag(from: Published, to: Published, change: Change = same): Promise<void> {
  const { bytes } = await from.repository.manifest(tagOf(from));
  const manifest = JSON.parse(Buffer.from(bytes).toString()) as Json & {
    config: Descriptor;
    layers: Descriptor[];
  };
  const layers = await Promise.all(
    manifest.layers.map(async (layer) => {
      const changed = change({
        bytes: Buffer.from(await from.repository.blobBytes(layer, 1 << 20)),
        annotations: layer.annotations ?? {},
      });
      return {
        ...layer,
        ...(await to.repository.pushBlob(changed.bytes)),
        mediaType: layer.mediaType,
        annotations: changed.annotations,
      };
    }),
  );
  await to.repository.pushBlob(await from.repository.blobBytes(manifest.config, 1 << 20));
  await to.repository.pushManifest(
    Buffer.from(JSON.stringify({ ...manifest, layers })),
    mediaTypes.ociManifest,
    { tag: tagOf(to) },
  );
}

/** Returns the bytes with one bit flipped. */
export function flip(bytes: Uint8Array, at: number): Buffer {
  const flipped = Buffer.from(bytes);
  const place = Math.floor((flipped.length - 1) * at);
  flipped[place] = (flipped[place] ?? 0) ^ 1;
  return flipped;
}

function tagOf({ digest }: Published): string {
  return `${digest.replace(':', '-')}.sig`;
}

function same(signature: Signature): Signature {
  return signature;
}

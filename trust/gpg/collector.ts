import { parseReference } from '../../base/distribution/index.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import type { Collector, GatheringContext } from '../evidence/collector.ts';
import type { EvidenceItem } from '../findings/types.ts';
import { fetchSignature } from './fetch-signature.ts';
import { signatureUrl } from './lookaside.ts';

/** A lookaside serves OpenPGP messages, without a media type. */
const mediaType = 'application/pgp-signature';

/** GPG simple signatures are in lookaside stores, outside the registry: containers-signature(5). */
export const gpgCollectors: readonly Collector[] = [
  { kind: 'gpg-simple-signing', at: 'elsewhere', elsewhere: collectSignatures },
];

async function collectSignatures(context: GatheringContext): Promise<void> {
  const { digest, manifestDigest, reference } = context.input;
  const { repository } = parseReference(reference);
  const stores = new Set(
    context.wanted.flatMap((requirement) => (requirement.kind === 'gpg' ? [requirement.lookaside] : [])),
  );
  const places = [...stores].flatMap((store) =>
    [...new Set([digest, manifestDigest])].map((named) => ({ store, named })),
  );
  await Promise.all(places.map(({ store, named }) => collectFrom(store, repository, named, context)));
}

/** Fetches `signature-1`, `signature-2`, … until one does not exist. */
async function collectFrom(
  store: string,
  repository: string,
  digest: string,
  { input, collection }: GatheringContext,
): Promise<void> {
  if (input.offline === true && !store.startsWith('file:')) {
    collection.failed(store, new Error('nobody is asked'));
    return;
  }
  for (let index = 1; ; index += 1) {
    const url = signatureUrl(store, repository, digest, index);
    try {
      const fetched = await fetchSignature(url, collection.limits.blobBytes, collection.signal);
      if (fetched.found === 'nothing' || !collection.take(store)) return;
      const found = itemFrame(url, digest);
      if (fetched.found === 'unusable')
        collection.add({ ...found, problem: `it could not be read: ${fetched.why}` });
      else if (!collection.reserve(fetched.bytes.length, store)) return;
      else
        collection.add({
          ...found,
          blobDigest: sha256Digest(fetched.bytes),
          bytes: fetched.bytes.toString('base64'),
        });
    } catch (error) {
      collection.failed(url, error);
      return;
    }
  }
}

function itemFrame(url: string, digest: string): EvidenceItem {
  return {
    kind: 'gpg-simple-signing',
    attachedTo: digest,
    foundBy: `lookaside ${url}`,
    servedBy: new URL(url).host || 'this machine',
    manifestDigest: '',
    blobDigest: '',
    mediaType,
    annotations: {},
  };
}

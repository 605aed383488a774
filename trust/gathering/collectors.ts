import type { Collector, LeafRequirement } from '../evidence/collector.ts';

type Load = () => Promise<readonly Collector[]>;

const cosign: Load = async () => (await import('../cosign/collectors.ts')).cosignCollectors;

/**
 * The collectors of each type of requirement. They are loaded only when a rule that matches the image has
 * such a requirement.
 */
const loaders: Readonly<Record<LeafRequirement['kind'], readonly Load[]>> = {
  gpg: [async () => (await import('../gpg/collector.ts')).gpgCollectors],
  attestation: [async () => (await import('../attestation/collectors.ts')).attestationCollectors],
  notation: [async () => (await import('../notation/collector.ts')).notationCollectors],
  tuf: [async () => (await import('../tuf-requirement/collector.ts')).tufCollectors],
  'cosign-key': [cosign],
  sigstore: [cosign],
  pki: [cosign],
};

/** Returns the collectors that these requirements need, each once. */
export async function collectorsFor(wanted: readonly LeafRequirement[]): Promise<readonly Collector[]> {
  const needed = new Set([...new Set(wanted.map(({ kind }) => kind))].flatMap((kind) => loaders[kind]));
  const loaded = await Promise.all([...needed].map((load) => load()));
  return [...new Set(loaded.flat())].filter((collector) => collector.needed?.(wanted) ?? true);
}

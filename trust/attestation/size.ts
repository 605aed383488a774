import { largest } from '../../base/lists/index.ts';
import type { LeafRequirement } from '../evidence/collector.ts';

const units: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 * 1024 };
/** Unless the policy says otherwise: base64 makes a bill of materials of 12 MB this large. */
const usual = 16 * 1024 * 1024;
/** What a decision can still read within its memory. */
const most = 64;

/** JSON Schema of `maxSize`. */
export const maxSizeSchema = {
  type: 'string',
  pattern: `^([1-9][0-9]{0,4}KiB|([1-9]|[1-5][0-9]|6[0-4])MiB)$`,
  description: `write a size up to ${most}MiB, such as 32MiB: the largest attestation that is read, as the registry serves it; 16MiB unless told`,
} as const;

/** Bytes; undefined for what the schema refuses. */
export function parseSize(text: unknown): number | undefined {
  const [, count = '', unit = ''] = (typeof text === 'string' && /^(\d{1,5})(KiB|MiB)$/.exec(text)) || [];
  const bytes = Number(count) * (units[unit] ?? 0);
  return bytes > 0 && bytes <= most * 1024 * 1024 ? bytes : undefined;
}

/** The largest attestation that these requirements let be read, in bytes. */
export function largestAttestation(wanted: readonly LeafRequirement[]): number {
  return Math.max(0, largest(wanted.flatMap((one) => (one.kind === 'attestation' ? [one.maxSize ?? usual] : []))));
}

import { largest } from '../../base/lists/index.ts';
import type { LeafRequirement } from '../evidence/collector.ts';

const units: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 * 1024 };
/** The default: base64 expands a bill of materials of 12 MB to this size. */
const usual = 16 * 1024 * 1024;
/** The maximum that a decision can read within its memory. */
const most = 64;

/** JSON Schema of `maxSize`. */
export const maxSizeSchema = {
  type: 'string',
  // Up to 65536KiB, or 64MiB.
  pattern:
    '^(([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-6])KiB|([1-9]|[1-5][0-9]|6[0-4])MiB)$',
  description: `write a size up to ${most}MiB, such as 32MiB: the largest attestation that is read, as the registry serves it; the default is 16MiB`,
} as const;

/** Returns bytes, or undefined for a value that the schema refuses. */
export function parseSize(text: unknown): number | undefined {
  const [, count = '', unit = ''] = (typeof text === 'string' && /^(\d{1,5})(KiB|MiB)$/.exec(text)) || [];
  const bytes = Number(count) * (units[unit] ?? 0);
  return bytes > 0 && bytes <= most * 1024 * 1024 ? bytes : undefined;
}

/** Returns the size of the largest attestation that these requirements allow, in bytes. */
export function largestAttestation(wanted: readonly LeafRequirement[]): number {
  return Math.max(
    0,
    largest(wanted.flatMap((one) => (one.kind === 'attestation' ? [one.maxSize ?? usual] : []))),
  );
}

import { simpleSigningType } from '../evidence/cosign-names.ts';

/**
 * Returns the payload of cosign's older form (cosign specs/SIGNATURE_SPEC.md). `identity` is the repository's
 * name, `optional` contains its annotations.
 */
export function makeSimpleSigningPayload(
  digest: string,
  identity: string,
  annotations: Readonly<Record<string, string>> = {},
): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': identity },
        image: { 'docker-manifest-digest': digest },
        type: simpleSigningType,
      },
      optional: Object.keys(annotations).length === 0 ? null : annotations,
    }),
  );
}

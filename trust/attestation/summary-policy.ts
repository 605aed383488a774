import type { PathSegment } from '../../base/schema/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';
import { durationPattern, parseDuration } from '../requirements/duration.ts';
import { parseImagePattern } from '../requirements/image-pattern.ts';
import { attestationSchema, readAuthority } from './policy.ts';
import type { AttestationReader } from './policy.ts';
import { summaryPredicateType } from './predicate-types.ts';

/** A summary of our own has a few kilobytes. That of another verifier may list many dependencies. */
const largestSummary = 1024 * 1024;
const uri = '^[A-Za-z][A-Za-z0-9+.-]*:\\S+$';

/** JSON Schema of `vsa:` in a requirement. */
export const summarySchema = {
  type: 'object',
  additionalProperties: false,
  required: ['verifier', 'by', 'maxAge'],
  description:
    'A SLSA verification summary (VSA): a verifier that you trust says that the image passed its policy.',
  properties: {
    verifier: {
      type: 'string',
      maxLength: 1024,
      pattern: uri,
      description:
        'write the URI of the verifier, as in verifier.id of its summaries; it is compared exactly',
    },
    by: attestationSchema.properties.by,
    maxAge: {
      type: 'string',
      pattern: durationPattern,
      description: 'write the longest time since the verification (timeVerified), such as 24h',
    },
    policy: {
      type: 'string',
      pattern: '^(sha256:)?[0-9a-f]{64}$',
      description: 'write the sha256 digest of the policy that the verifier applied. Default: any policy.',
    },
    resource: {
      type: 'string',
      minLength: 1,
      maxLength: 512,
      description:
        'A pattern of the image names that the summary may be about, as in `images`. Default: the repository of the image itself.',
    },
    levels: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      items: {
        type: 'string',
        pattern: '^[A-Z][A-Z0-9_]{0,99}$',
        description: 'write a level such as SLSA_BUILD_LEVEL_2; a higher level of the same track includes it',
      },
      description: 'Levels that the verifier must have verified. All of them are required.',
    },
  },
} as const;

/** Reads `vsa:`. */
export const readSummary: AttestationReader = async (value, path, building, readRequirement) => {
  const record = recordOf(value);
  if (record === undefined) return undefined;
  const by = await readAuthority(record['by'], path, building, readRequirement);
  const { verifier, maxAge, policy, resource, levels } = record;
  const age = typeof maxAge === 'string' ? parseDuration(maxAge) : undefined;
  const named = typeof resource === 'string' ? checked(resource, [...path, 'resource'], building) : undefined;
  if (by === undefined || typeof verifier !== 'string' || age === undefined) return undefined;
  if (typeof resource === 'string' && named === undefined) return undefined;
  return {
    kind: 'attestation',
    predicateType: summaryPredicateType,
    by,
    cel: [],
    maxSize: largestSummary,
    summary: {
      verifier,
      maxAge: age,
      ...(typeof policy === 'string' ? { policy: policy.replace(/^sha256:/, '') } : {}),
      ...(named === undefined ? {} : { resource: named }),
      ...(Array.isArray(levels) ? { levels: levels.map(String) } : {}),
    },
  };
};

function checked(pattern: string, path: readonly PathSegment[], building: Building): string | undefined {
  try {
    parseImagePattern(pattern);
    return pattern;
  } catch (error) {
    const message = `"${pattern}" is not an image pattern: ${reasonOf(error)}`;
    report(building, path, message, 'write it like registry.example.com/team/app');
    return undefined;
  }
}

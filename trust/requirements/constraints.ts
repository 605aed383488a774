import type { PathSegment } from '../../base/schema/index.ts';
import { recordOf, textsOf } from '../json/strict-json.ts';
import type { Constraints } from './constraint-set.ts';
import { report } from './building.ts';
import type { Building } from './building.ts';
import { isRemappingPrefix, parseDockerReference } from './docker-reference.ts';
import { durationPattern, instantPattern, parseDuration, parseInstant } from './duration.ts';
import { describePattern } from './text-pattern.ts';
import { identityFields, describeSignedIdentity } from './signed-identity.ts';
import type { SignedIdentity } from './signed-identity.ts';

const name = { type: 'string', minLength: 1, maxLength: 1024 } as const;

/**
 * JSON Schema of the fields that all types of authority share. Each type spreads it into its own
 * `properties`.
 */
export const constraintProperties = {
  signs: {
    enum: ['either', 'index', 'manifest'],
    description:
      "Which digest must have been signed: the image's index, the platform's manifest, or either (default). An image without an index has a manifest only.",
  },
  signedIdentity: {
    type: 'object',
    additionalProperties: false,
    required: ['type'],
    description:
      "How the name in the signature must relate to the image's, with the values of containers-policy.json(5). A signature without a name then does not count.",
    properties: {
      type: {
        description: 'How the names are compared.',
        enum: [
          'matchExact',
          'matchRepoDigestOrExact',
          'matchRepository',
          'exactReference',
          'exactRepository',
          'remapIdentity',
        ],
      },
      dockerReference: {
        ...name,
        description: 'With exactReference: the name in the signature, with a tag or a digest.',
      },
      dockerRepository: {
        ...name,
        description: 'With exactRepository: the repository in the signature.',
      },
      prefix: {
        ...name,
        description:
          'With remapIdentity: the beginning of the name of the image, replaced by `signedPrefix`.',
      },
      signedPrefix: {
        ...name,
        description: 'With remapIdentity: the beginning of the name in the signature.',
      },
    },
  },
  annotations: {
    type: 'object',
    minProperties: 1,
    maxProperties: 100,
    additionalProperties: { type: 'string', maxLength: 1024 },
    description: 'Required signed annotations, each exact or a pattern: * matches any characters.',
  },
  maxAge: {
    type: 'string',
    pattern: durationPattern,
    description: 'write a number and s, m, h, d or w, such as 30d',
  },
  notBefore: {
    type: 'string',
    pattern: instantPattern,
    description: 'write a date, such as 2026-01-31 or 2026-01-31T12:00:00Z',
  },
} as const;

/**
 * Reads the shared fields of one authority. Returns undefined when it has none. The schema check has already
 * reported invalid values.
 */
export function readConstraints(
  record: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  building: Building,
): Constraints | undefined {
  const { signs, maxAge, notBefore } = record;
  const annotations = textsOf(record['annotations']);
  const identity = readSignedIdentity(record['signedIdentity'], [...path, 'signedIdentity'], building);
  const since = typeof notBefore === 'string' ? parseInstant(notBefore) : undefined;
  if (typeof notBefore === 'string' && since === undefined)
    report(
      building,
      [...path, 'notBefore'],
      `"${notBefore}" is not a valid date`,
      'write a date, such as 2026-01-31',
    );
  const age = typeof maxAge === 'string' ? parseDuration(maxAge) : undefined;
  const constraints: Constraints = {
    ...(signs === 'index' || signs === 'manifest' ? { signs } : {}),
    ...(identity === undefined ? {} : { signedIdentity: identity }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ...(age === undefined ? {} : { maxAge: age }),
    ...(since === undefined ? {} : { notBefore: since }),
  };
  return Object.keys(constraints).length === 0 ? undefined : constraints;
}

/** Refuses a limit on the age when a signature by such an authority can never prove its age. */
export function refuseUnprovenAge(
  constraints: Constraints | undefined,
  path: readonly PathSegment[],
  building: Building,
  { why, fix }: { readonly why: string; readonly fix: string },
): boolean {
  const asked = (['maxAge', 'notBefore'] as const).filter((key) => constraints?.[key] !== undefined);
  for (const key of asked)
    report(building, [...path, key], `${why}: ${key} can never be met`, `${fix}, or leave ${key} out`, 'key');
  return asked.length > 0;
}

/** The form that each field must have. */
const identityForms: Readonly<Record<string, (text: string) => boolean>> = {
  dockerReference: (text) => {
    const parsed = parseDockerReference(text);
    return parsed?.tag !== undefined || parsed?.digest !== undefined;
  },
  dockerRepository: (text) => {
    const parsed = parseDockerReference(text);
    return parsed !== undefined && parsed.tag === undefined && parsed.digest === undefined;
  },
  prefix: isRemappingPrefix,
  signedPrefix: isRemappingPrefix,
};

function readSignedIdentity(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): SignedIdentity | undefined {
  const record = recordOf(value);
  const type = record?.['type'];
  if (record === undefined || typeof type !== 'string' || !Object.hasOwn(identityFields, type))
    return undefined;
  const fields = identityFields[type as SignedIdentity['type']];
  const texts = textsOf(record);
  let whole = true;
  for (const field of Object.keys(identityForms)) {
    const text = texts[field];
    if (fields.includes(field) && text === undefined) {
      report(building, path, `\`type: ${type}\` needs \`${field}\``, 'add it');
      whole = false;
    } else if (!fields.includes(field) && Object.hasOwn(record, field)) {
      report(
        building,
        [...path, field],
        `\`${field}\` cannot be combined with \`type: ${type}\``,
        'remove it',
        'key',
      );
      whole = false;
    } else if (text !== undefined && identityForms[field]?.(text) === false) {
      report(building, [...path, field], `"${text}" is not valid here`, formOf(field));
      whole = false;
    }
  }
  return whole
    ? ({
        type,
        ...Object.fromEntries(fields.map((field) => [field, texts[field]])),
      } as unknown as SignedIdentity)
    : undefined;
}

function formOf(field: string): string {
  if (field === 'dockerReference')
    return 'write a name with tag or digest, such as registry.example.com/app:1';
  if (field === 'dockerRepository')
    return 'write a name without tag and digest, such as registry.example.com/app';
  return 'write a host, or a name that begins with one: registry.example.com/team';
}

/** Returns the constraints as clauses for explanations. Each clause can follow "and". */
export function describeConstraints(
  constraints: Constraints | undefined,
  reference: string,
): readonly string[] {
  const { signs, signedIdentity, annotations, maxAge, notBefore } = constraints ?? {};
  return [
    ...(signs === undefined
      ? []
      : [signs === 'index' ? "it is over the image's index" : "it is over the platform's manifest"]),
    ...(signedIdentity === undefined
      ? []
      : [`it is made for ${describeSignedIdentity(signedIdentity, reference)}`]),
    ...Object.entries(annotations ?? {}).map(
      ([key, pattern]) => `its signed annotation ${key} is ${describePattern(pattern)}`,
    ),
    ...(maxAge === undefined ? [] : [`it is proven to be younger than ${describeSeconds(maxAge)}`]),
    ...(notBefore === undefined ? [] : [`it is proven to be made at ${notBefore} or later`]),
  ];
}

/** Returns a time in its largest whole unit: `30 days`. */
export function describeSeconds(total: number): string {
  for (const [unit, size] of [
    ['day', 86_400],
    ['hour', 3600],
    ['minute', 60],
  ] as const)
    if (total % size === 0) return `${total / size} ${unit}${total === size ? '' : 's'}`;
  return `${total} seconds`;
}

import { formatPath } from '../../base/schema/index.ts';
import type { PathSegment, Position } from '../../base/schema/index.ts';
import { report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';
import { constraintProperties, readConstraints, refuseUnprovenAge } from '../requirements/constraints.ts';
import type { RequirementReader } from '../requirements/building.ts';
import { recordOf } from '../json/strict-json.ts';
import type { AttestationRequirement, Requirement } from '../requirements/types.ts';
import { withoutConstraints } from './authorities.ts';
import { loadCel } from './cel-loaded.ts';
import { maxSizeSchema, parseSize } from './size.ts';
import { predicateShortNames, predicateTypeOf } from './predicate-types.ts';

const authorities = ['cosign', 'sigstore', 'pki'] as const;
const examples: Readonly<Record<string, string>> = {
  cosign: 'cosign: { key: FILE }',
  sigstore: 'sigstore: { issuer: …, subject: … }',
  pki: 'pki: { roots: FILE, email: … }',
};
const expression = { type: 'string', minLength: 1, maxLength: 4096 } as const;
const { signs, annotations, maxAge, notBefore } = constraintProperties;

/** JSON Schema of `attestation:` in a requirement. */
export const attestationSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['type', 'by'],
  description: 'A signed in-toto statement about the image.',
  properties: {
    type: {
      type: 'string',
      minLength: 1,
      maxLength: 512,
      description: `The predicate type: a URI, or one of ${predicateShortNames.join(', ')}.`,
    },
    by: {
      type: ['string', 'object'],
      description:
        'The required signer: cosign, sigstore or pki for the requirement of this type in the same `all`, or a separate one such as { cosign: { key: FILE } }.',
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
      properties: Object.fromEntries(
        authorities.map((name) => [name, { $ref: `#/$defs/requirement/properties/${name}` }]),
      ),
    },
    cel: {
      type: ['string', 'array'],
      ...{ minLength: 1, maxLength: 4096, minItems: 1, maxItems: 64 },
      items: expression,
      description:
        'A CEL expression over predicate, predicateType, subject, statement, image, signer and now; or several, all of which must be true.',
    },
    maxSize: maxSizeSchema,
    ...{ signs, annotations, maxAge, notBefore },
  },
} as const;

/** Reads a requirement of attestations. `readRequirement` reads the authority below `by`. */
export type AttestationReader = (
  ...parameters: [...Parameters<RequirementReader>, readRequirement: RequirementReader]
) => Promise<AttestationRequirement | undefined>;

/** Reads `attestation:`. */
export const readAttestation: AttestationReader = async (value, path, building, readRequirement) => {
  const record = recordOf(value);
  if (record === undefined) return undefined;
  const predicateType = readType(record['type'], [...path, 'type'], building);
  const by = await readAuthority(record['by'], path, building, readRequirement);
  const cel = await readExpressions(record['cel'], [...path, 'cel'], building);
  const constraints = readConstraints(record, path, building);
  if (predicateType === undefined || by === undefined || cel === undefined) return undefined;
  const timeless = by.kind === 'pki' || (by.kind === 'cosign-key' && by.log === undefined);
  if (timeless && refuseUnprovenAge(constraints, path, building, keyAge)) return undefined;
  const maxSize = parseSize(record['maxSize']);
  return {
    kind: 'attestation',
    predicateType,
    by,
    cel,
    ...(maxSize === undefined ? {} : { maxSize }),
    ...(constraints === undefined ? {} : { constraints }),
  };
};

const keyAge = {
  why: 'nothing proves when the key signed the attestation',
  fix: 'require an entry in a transparency log: cosign: { key: FILE, log: true }',
};

function readType(value: unknown, path: readonly PathSegment[], building: Building): string | undefined {
  if (typeof value !== 'string' || value === '') return undefined;
  const type = predicateTypeOf(value);
  if (type === undefined)
    report(
      building,
      path,
      `"${value}" is not a predicate type`,
      `write a URI, or one of ${predicateShortNames.join(', ')}`,
    );
  return type;
}

/** Reads `by`: a separate authority, or the word for the one beside it in the same `all`. */
export async function readAuthority(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
  readRequirement: RequirementReader,
): Promise<AttestationRequirement['by'] | undefined> {
  if (typeof value !== 'string') {
    // The schema has already refused all other values.
    const named = authorities.some((name) => Object.hasOwn(recordOf(value) ?? {}, name));
    return named ? attesting(await readRequirement(value, [...path, 'by'], building)) : undefined;
  }
  if (!(authorities as readonly string[]).includes(value)) {
    report(
      building,
      [...path, 'by'],
      `"${value}" is not a type of signer for attestations`,
      'write cosign, sigstore, pki, or a separate signer such as { cosign: { key: FILE } }',
    );
    return undefined;
  }
  const beside = siblings(value, path, building);
  const [only] = beside;
  if (only === undefined || beside.length > 1) {
    const found = beside.length === 0 ? 'there is none' : `there are ${beside.length}`;
    report(
      building,
      [...path, 'by'],
      `\`by: ${value}\` refers to the only \`${value}\` requirement in the same \`all\`, but ${found}`,
      `write it here: by: { ${examples[value] ?? ''} }`,
    );
    return undefined;
  }
  // The mistakes of the authority are reported where it is written.
  const authority = attesting(await readRequirement(only.value, only.path, { ...building, problems: [] }));
  if (authority === undefined) return undefined;
  return withoutConstraints(authority);
}

function attesting(requirement: Requirement | undefined): AttestationRequirement['by'] | undefined {
  const kinds: readonly string[] = ['cosign-key', 'sigstore', 'pki'];
  return requirement !== undefined && kinds.includes(requirement.kind)
    ? (requirement as AttestationRequirement['by'])
    : undefined;
}

interface Sibling {
  readonly value: unknown;
  readonly path: readonly PathSegment[];
}

/**
 * Returns the requirements of a type in the `all` that contains the attestation: `path` ends in `all`, the
 * index, `attestation`.
 */
function siblings(kind: string, path: readonly PathSegment[], building: Building): readonly Sibling[] {
  const listPath = path.slice(0, -2);
  if (listPath.at(-1) !== 'all') return [];
  const list = listPath.reduce<unknown>(
    (value, segment) => (value as Record<PathSegment, unknown> | undefined)?.[segment],
    building.document.value,
  );
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: unknown, index) =>
    Object.hasOwn(recordOf(entry) ?? {}, kind) ? [{ value: entry, path: [...listPath, index] }] : [],
  );
}

async function readExpressions(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<readonly string[] | undefined> {
  if (value === undefined) return [];
  const several = Array.isArray(value);
  const texts: readonly unknown[] = several ? value : [value];
  const { compile } = await loadCel();
  let whole = true;
  for (const [index, text] of texts.entries()) {
    if (typeof text !== 'string' || text === '' || text.length > expression.maxLength) return undefined;
    const compiled = compile(text);
    if (!('problems' in compiled)) continue;
    whole = false;
    const start = building.document.positionOf(several ? [...path, index] : path);
    for (const { line, column, message } of compiled.problems) {
      const position = placeInFile(start, text, line, column);
      building.problems.push({
        position,
        path: formatPath(several ? [...path, index] : path),
        message: `the expression has a mistake at ${line}:${column} of its text: ${message}`,
        fix: 'correct it: docs/attestations.md describes what an expression may contain',
      });
    }
  }
  return whole ? (texts as readonly string[]) : undefined;
}

/**
 * Returns the position of a mistake in the file: for an expression on one line, the mistake itself (after the
 * quote that such an expression needs); otherwise the start of the expression.
 */
function placeInFile(start: Position, text: string, line: number, column: number): Position {
  return text.includes('\n') || line > 1 ? start : { ...start, column: start.column + column };
}

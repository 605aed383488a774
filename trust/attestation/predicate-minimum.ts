import { recordOf } from '../json/strict-json.ts';
import { predicateTypeOf, summaryPredicateType } from './predicate-types.ts';

/** A demand on a field: text that matches, or a value of this type. */
type Demand = RegExp | 'object' | 'list';

interface Minimum {
  readonly name: string;
  /** By the path of the field, whose parts are separated by spaces. */
  readonly fields: Readonly<Record<string, Demand>>;
}

const text = /./s;
/** BuildKit writes an empty id unless its user names the builder. */
const builder = /^/;

/** The fields without which no verifier can use a predicate: the specifications require them. */
const minimums: ReadonlyMap<string | undefined, readonly Minimum[]> = new Map([
  [
    predicateTypeOf('slsaprovenance1'),
    [
      {
        name: 'SLSA provenance v1',
        fields: {
          'buildDefinition buildType': text,
          'buildDefinition externalParameters': 'object',
          'runDetails builder id': builder,
        },
      },
    ],
  ],
  [
    predicateTypeOf('slsaprovenance02'),
    [{ name: 'SLSA provenance v0.2', fields: { 'builder id': builder, buildType: text } }],
  ],
  [
    summaryPredicateType,
    [
      {
        name: 'a verification summary',
        fields: {
          'verifier id': text,
          timeVerified: text,
          resourceUri: text,
          policy: 'object',
          verificationResult: /^(?:PASSED|FAILED)$/,
          verifiedLevels: 'list',
        },
      },
    ],
  ],
  [
    predicateTypeOf('cyclonedx'),
    [{ name: 'a CycloneDX document', fields: { bomFormat: /^CycloneDX$/, specVersion: text } }],
  ],
  [
    predicateTypeOf('spdx'),
    [
      { name: 'an SPDX document', fields: { spdxVersion: /^SPDX-/ } },
      // SPDX 3 is JSON-LD.
      { name: 'an SPDX document', fields: { '@context': /spdx/i } },
    ],
  ],
  [
    predicateTypeOf('openvex'),
    [
      {
        name: 'an OpenVEX document',
        fields: { '@context': /^https:\/\/openvex\.dev\/ns/, statements: 'list' },
      },
    ],
  ],
  [
    predicateTypeOf('vuln'),
    [
      {
        name: 'a vulnerability scan of cosign',
        fields: { invocation: 'object', scanner: 'object', metadata: 'object' },
      },
    ],
  ],
]);

/**
 * Returns why a predicate is not of its type; undefined if it has the fields that the type requires, or if
 * the type is not known. @param type the short name or the URI
 */
export function predicateFlaw(type: string, predicate: unknown): string | undefined {
  const flaws = (minimums.get(predicateTypeOf(type)) ?? []).map(({ name, fields }) => {
    const wrong = Object.entries(fields).find(([path, demand]) => !isMet(predicate, path, demand));
    return wrong === undefined ? undefined : `it is not ${name}: ${say(predicate, wrong[0])}`;
  });
  return flaws.includes(undefined) ? undefined : flaws[0];
}

function isMet(predicate: unknown, path: string, demand: Demand): boolean {
  const value = valueAt(predicate, path);
  if (demand === 'object') return recordOf(value) !== undefined;
  if (demand === 'list') return Array.isArray(value);
  return typeof value === 'string' && demand.test(value);
}

function say(predicate: unknown, path: string): string {
  const field = path.replaceAll(' ', '.');
  return valueAt(predicate, path) === undefined ? `${field} is missing` : `${field} has no valid value`;
}

function valueAt(predicate: unknown, path: string): unknown {
  return path.split(' ').reduce((at: unknown, name) => recordOf(at)?.[name], predicate);
}

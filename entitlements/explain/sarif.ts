import type { Problem } from '../../base/schema/index.ts';
import type { Comparison, Finding } from './comparison.ts';

/** A SARIF 2.1.0 log (OASIS, "Static Analysis Results Interchange Format"), as plain JSON. */
export interface SarifLog {
  readonly $schema: string;
  readonly version: '2.1.0';
  readonly runs: readonly unknown[];
}

interface Result {
  readonly ruleId: string;
  readonly level: 'error' | 'note' | 'warning';
  readonly message: { readonly text: string };
  readonly locations?: readonly unknown[];
}

/**
 * Converts the grants that only one of two profiles has, each to a result at the file of the profile that has
 * it.
 */
export function compareToSarif(comparison: Comparison): SarifLog {
  const { first, firstFile, second, secondFile, onlyFirst, onlySecond } = comparison;
  const results = [
    ...onlyFirst.map((finding) => resultOf(finding, firstFile, 'error')),
    ...onlySecond.map((finding) => resultOf(finding, secondFile, 'warning')),
  ];
  return sarif(
    results,
    (rule) => `${first} and ${second} grant different permissions: ${rule.replace('difference/', '')}`,
  );
}

function resultOf(
  { dimension, sentence }: Finding,
  file: string | undefined,
  level: Result['level'],
): Result {
  return {
    ruleId: `difference/${dimension}`,
    level,
    message: { text: sentence },
    ...(file === undefined ? {} : { locations: [locationOf(file, 1, 1)] }),
  };
}

/** Converts problems of profiles, each to a result at its position. `rule` names the check that found it. */
export function problemsToSarif(
  problems: readonly (Problem & { readonly rule?: string; readonly level?: Result['level'] })[],
): SarifLog {
  const results = problems.map(({ position, path, message, fix, rule, level }): Result => ({
    ruleId: rule ?? 'profile/invalid',
    level: level ?? 'error',
    message: { text: `${path === '' ? '' : `${path}: `}${message}${fix === undefined ? '' : `; ${fix}`}` },
    locations: [locationOf(position.file, position.line, position.column)],
  }));
  return sarif(results, (rule) =>
    rule === 'profile/invalid' ? 'An entitlement profile that cannot be read' : `Lint: ${rule}`,
  );
}

function locationOf(file: string, startLine: number, startColumn: number): unknown {
  const uri = file.split('/').map(encodeURIComponent).join('/');
  return {
    physicalLocation: {
      artifactLocation: { uri: file.startsWith('/') ? `file://${uri}` : uri },
      region: { startLine, startColumn },
    },
  };
}

function sarif(results: readonly Result[], describe: (rule: string) => string): SarifLog {
  const rules = [...new Set(results.map(({ ruleId }) => ruleId))].sort();
  return {
    $schema: 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'portcullis',
            rules: rules.map((id) => ({ id, shortDescription: { text: describe(id) } })),
          },
        },
        columnKind: 'utf16CodeUnits',
        results: results.map((result) => ({ ...result, ruleIndex: rules.indexOf(result.ruleId) })),
      },
    ],
  };
}

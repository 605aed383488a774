import type { PathSegment } from '../../base/schema/index.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import { readCidr, readSize } from '../profile/values.ts';

export const PARAMETER_TYPES = ['cidr', 'integer', 'name', 'path', 'pattern', 'port', 'size'] as const;
export type ParameterType = (typeof PARAMETER_TYPES)[number];

export type ParameterValue = number | string;

export interface Parameter {
  readonly type: ParameterType;
  readonly default?: ParameterValue;
}

/** Sample values for the check of a profile in which some values are missing. */
const SAMPLES: Readonly<Record<ParameterType, ParameterValue>> = {
  cidr: '192.0.2.0/24',
  integer: 1,
  name: 'x',
  path: '/x',
  pattern: '/x/*',
  port: 1,
  size: 1,
};

export function sampleOf({ type }: Parameter): ParameterValue {
  return SAMPLES[type];
}

const TOLD: Readonly<Record<ParameterType, string>> = {
  cidr: 'write an address, or CIDR such as 10.0.0.0/8',
  integer: 'write a whole number',
  name: 'write 1 to 128 letters, digits, dots, dashes and underscores',
  path: 'write an absolute path without . and .. and without pattern characters',
  pattern: 'write a pattern of absolute paths, such as /app/**',
  port: 'write a number from 1 to 65535',
  size: 'write bytes, or a number with Ki, Mi, Gi or Ti',
};

/** Returns what is wrong with a value of that type, and what to write instead; undefined if it is valid. */
export function parameterProblem(
  type: ParameterType,
  value: unknown,
): { readonly problem: string; readonly fix: string } | undefined {
  const fine = fits(type, value);
  return fine
    ? undefined
    : {
        problem: `${JSON.stringify(value).slice(0, 200)} is not ${type === 'integer' ? 'an' : 'a'} ${type}`,
        fix: TOLD[type],
      };
}

function fits(type: ParameterType, value: unknown): boolean {
  const number = typeof value === 'number' && Number.isSafeInteger(value);
  switch (type) {
    case 'integer':
      return number;
    case 'port':
      return number && value >= 1 && value <= 65535;
    case 'size':
      return 'value' in readSize(value);
    case 'cidr':
      return 'value' in readCidr(value);
    case 'name':
      return typeof value === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(value);
    case 'path':
      return (
        typeof value === 'string' &&
        !/[*?[\]{}\\,^$]|.\/$/.test(value) &&
        'pattern' in parsePathPattern(value)
      );
    case 'pattern':
      return typeof value === 'string' && !value.includes('$') && 'pattern' in parsePathPattern(value);
  }
}

const REFERENCE = /\$\{([^{}]*)\}/g;

/** Returns the names of the parameters to which a text refers, even if no such parameter exists. */
function referencesIn(text: string): string[] {
  return [...text.matchAll(REFERENCE)].map(([, name = '']) => name);
}

export interface Reference {
  readonly name: string;
  readonly path: readonly PathSegment[];
}

/** Returns every `${name}` in the texts of a value, with its position. */
export function referencesOf(value: unknown, path: readonly PathSegment[] = []): Reference[] {
  if (typeof value === 'string') return referencesIn(value).map((name) => ({ name, path }));
  if (Array.isArray(value)) return value.flatMap((item, at) => referencesOf(item, [...path, at]));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => referencesOf(item, [...path, key]));
}

/**
 * Returns the value with each `${name}` in its texts replaced. A text that consists of one reference becomes
 * the parameter's own value, so a number stays a number. In a longer text the value is inserted as text.
 * Names without a value stay unchanged. Keys are not changed.
 */
export function substitute(value: unknown, values: ReadonlyMap<string, ParameterValue>): unknown {
  if (typeof value === 'string') {
    const whole = /^\$\{([^{}]*)\}$/.exec(value)?.[1];
    if (whole !== undefined) return values.get(whole) ?? value;
    return value.replaceAll(REFERENCE, (reference, name: string) => String(values.get(name) ?? reference));
  }
  if (Array.isArray(value)) return value.map((item) => substitute(item, values));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, substitute(item, values)]));
}

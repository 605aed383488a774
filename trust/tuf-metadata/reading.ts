import { readRfc3339 } from '../json/rfc3339.ts';

/** Typed reading of parsed JSON. The first invalid value is thrown as a sentence. */
export type Json = Readonly<Record<string, unknown>>;

export function objectAt(value: unknown, at: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw new Error(`${at} must be an object`);
}

export function listAt(value: unknown, at: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error(`${at} must be a list`);
}

export function textAt(value: unknown, at: string): string {
  if (typeof value === 'string') return value;
  throw new Error(`${at} must be a string`);
}

export function textsAt(value: unknown, at: string): string[] {
  return listAt(value, at).map((entry, index) => textAt(entry, `${at}[${index}]`));
}

/** Returns an integer. @param least the smallest allowed value */
export function wholeAt(value: unknown, at: string, least: number): number {
  if (Number.isSafeInteger(value) && (value as number) >= least) return value as number;
  throw new Error(`${at} must be a whole number of at least ${least}`);
}

export function flagAt(value: unknown, at: string): boolean {
  if (typeof value === 'boolean') return value;
  throw new Error(`${at} must be true or false`);
}

/** Returns the entries of an object whose keys are data, `__proto__` included. */
export function entriesAt(value: unknown, at: string): [string, unknown][] {
  return Object.entries(objectAt(value, at));
}

/** Reads an RFC 3339 time. @returns milliseconds since 1970 */
export function timeAt(value: unknown, at: string): number {
  const time = readRfc3339(textAt(value, at));
  if (time === undefined) throw new Error(`${at} must be a time such as 2030-01-31T00:00:00Z`);
  return time;
}

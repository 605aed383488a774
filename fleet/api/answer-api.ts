import { attempt, PortcullisError } from '../../base/errors/index.ts';
import { describeProblems, validate } from '../../base/schema/index.ts';
import type { Reader } from '../store/queries.ts';
import { apiOperations, apiVersion } from './operations.ts';
import type { ApiOperation } from './operations.ts';

/**
 * Answers a GET of the API.
 * @param path without the query, percent-encoded
 * @returns the answer; undefined when the path or the requested object does not exist
 * @throws PortcullisError FLEET_BAD_REQUEST · STORAGE_…
 */
export async function answerApi(
  reader: Reader,
  path: string,
  query: URLSearchParams,
  now: number,
): Promise<object | undefined> {
  const segments = path.split('/').slice(1);
  if (segments[0] !== apiVersion) return undefined;
  if (segments.length === 1) return describeApi();
  const found = operationOf(segments.slice(1));
  if (found === undefined) return undefined;
  const values = { ...Object.fromEntries(query), ...found.values };
  const position = { file: 'request', line: 0, column: 0 };
  const problems = validate(
    { value: values, file: 'request', positionOf: () => position },
    found.operation.request,
  );
  if (problems.length > 0)
    throw new PortcullisError({
      code: 'FLEET_BAD_REQUEST',
      kind: 'invalid',
      attempted: 'read the request',
      on: found.name,
      why: describeProblems(problems).trimEnd(),
      fix: 'use the fields in docs/fleet-api.md',
    });
  return found.operation.answer(reader, values, now);
}

function describeApi(): object {
  return {
    version: apiVersion,
    operations: Object.entries(apiOperations).map(([name, { summary, request }]) => ({
      path: `/${apiVersion}/${name}`,
      summary,
      request,
    })),
  };
}

interface FoundOperation {
  readonly name: string;
  readonly operation: ApiOperation;
  readonly values: Readonly<Record<string, string>>;
}

/** Finds the operation of a path. A path with fewer parameters comes first. */
function operationOf(segments: readonly string[]): FoundOperation | undefined {
  const matches = Object.entries(apiOperations).flatMap(([name, operation]) => {
    const values = valuesOf(name.split('/'), segments);
    return values === undefined ? [] : [{ name, operation, values }];
  });
  return matches.sort((a, b) => Object.keys(a.values).length - Object.keys(b.values).length)[0];
}

function valuesOf(
  pattern: readonly string[],
  segments: readonly string[],
): Readonly<Record<string, string>> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const values: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    const segment = segments[index] ?? '';
    const [, field] = /^\{(\w+)\}$/u.exec(part) ?? [];
    if (field === undefined) {
      if (part !== segment) return undefined;
    } else {
      const value = decode(segment);
      if (value === undefined) return undefined;
      values[field] = value;
    }
  }
  return values;
}

function decode(segment: string): string | undefined {
  return attempt(() => decodeURIComponent(segment));
}

import { resolve } from 'node:path';
import type { ConfigSchema } from './config-schema.ts';

const url = /^[a-z][a-z0-9+.-]*:\/\//iu;
/** As a shell writes a home folder: `~/x`, `~user/x`. */
const homeFolder = /^~[^/]*(?:\/|$)/u;

/**
 * Makes a path absolute. A socket may be written as for a kubelet or gRPC: `unix:///run/a.sock`,
 * `unix:/run/a.sock`. Another URL, or a path from a home folder, is not changed, and {@link pathProblems}
 * reports it.
 */
export function pathFrom(folder: string, text: string): string {
  const path = text.replace(/^unix:(?:\/\/)?/u, '');
  return url.test(path) || homeFolder.test(path) ? path : resolve(folder, path);
}

/**
 * Makes paths of the file (`format: path` of the schema) absolute: they are relative to its folder. A value
 * of a wrong type is not changed, because it has been reported.
 */
export function absolutePaths(schema: ConfigSchema, value: unknown, folder: string): unknown {
  if (typeof value === 'string')
    return schema['format'] === 'path' && value !== '' ? pathFrom(folder, value) : value;
  if (Array.isArray(value)) {
    const items = schema['items'] as ConfigSchema | undefined;
    return items === undefined ? value : value.map((item) => absolutePaths(items, item, folder));
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => {
      const of = fieldSchema(schema, key);
      return [key, of === undefined ? each : absolutePaths(of, each, folder)];
    }),
  );
}

/**
 * Returns one sentence for each path that is a URL or begins with a home folder. `at` is the option that
 * holds `value`.
 */
export function pathProblems(schema: ConfigSchema, value: unknown, at = ''): string[] {
  if (typeof value === 'string') {
    if (schema['format'] !== 'path') return [];
    if (url.test(value)) return [`${at}: ${value} is a URL; give a path of this machine`];
    return homeFolder.test(value)
      ? [`${at}: ${value} begins with ~, which only a shell replaces; give an absolute path`]
      : [];
  }
  if (Array.isArray(value)) {
    const items = schema['items'] as ConfigSchema | undefined;
    return items === undefined ? [] : value.flatMap((item) => pathProblems(items, item, at));
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) => {
    const of = fieldSchema(schema, key);
    return of === undefined ? [] : pathProblems(of, each, at === '' ? key : `${at}.${key}`);
  });
}

function fieldSchema(schema: ConfigSchema, key: string): ConfigSchema | undefined {
  const { additionalProperties } = schema as { readonly additionalProperties?: ConfigSchema | boolean };
  return (
    schema.properties?.[key] ?? (typeof additionalProperties === 'object' ? additionalProperties : undefined)
  );
}

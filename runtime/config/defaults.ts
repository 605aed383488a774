import type { ConfigSchema } from './config-schema.ts';

/**
 * Returns `given` with the schema's defaults for missing values, in the schema's order. A map (an object
 * without fixed properties) replaces the default map, and each entry gets its own defaults: a file that names
 * one runtime does not get the default runtimes in addition.
 */
export function withDefaults(schema: ConfigSchema, given: unknown): Record<string, unknown> {
  const from = (given ?? {}) as Readonly<Record<string, unknown>>;
  const result: Record<string, unknown> = {};
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    if (key === '$schema') continue;
    const value = from[key] ?? structuredClone(property.default);
    // A section with a list of required properties, even an empty one, exists only when it is written.
    if (value === undefined && property.required !== undefined) continue;
    if (property.properties !== undefined) result[key] = withDefaults(property, value);
    else if (property.type === 'object')
      result[key] = entriesWithDefaults(property, value as Readonly<Record<string, unknown>>);
    else if (value !== undefined) result[key] = value;
  }
  return result;
}

function entriesWithDefaults(
  schema: ConfigSchema,
  map: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const entry = schema.additionalProperties as ConfigSchema;
  // Values that are not sections, such as labels, have no defaults.
  if (entry.type !== 'object') return { ...map };
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, withDefaults(entry, value)]));
}

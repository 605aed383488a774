import type { JsonSchema } from '../../base/schema/index.ts';

/**
 * The subset of JSON Schema that the configuration uses. `default` is the effective value when neither the
 * file nor a flag sets one.
 */
export interface ConfigSchema extends JsonSchema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, ConfigSchema>>;
  /** A section with this list, even an empty one, is absent unless it is written. */
  readonly required?: readonly string[];
}

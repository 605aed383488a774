import type { JsonSchema } from '../../base/schema/index.ts';

/** The part of JSON Schema that the configuration uses; `default` is the effective value when neither file nor flag gives one. */
export interface ConfigSchema extends JsonSchema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, ConfigSchema>>;
  /** A map with any is absent unless it is written. */
  readonly required?: readonly string[];
}

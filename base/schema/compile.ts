import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Options, ValidateFunction } from 'ajv';
import type { JsonSchema } from './types.ts';

/** The options of every validator, also of those that the build generates (packaging/validators.ts). */
export const compileOptions: Options = {
  allErrors: true,
  verbose: true,
  strict: true,
  allowUnionTypes: true,
  strictRequired: false,
  validateFormats: false,
  // The schemas are our own. Checking them against the meta-schema would double the time, at each start.
  // Strict mode still refuses a wrong keyword.
  validateSchema: false,
  meta: false,
};

const compiled = new WeakMap<JsonSchema, ValidateFunction>();

/**
 * Returns the validator of a schema. It is compiled once for each object, which takes up to 130 ms. The build
 * replaces this module by one that first looks for a validator that it has generated.
 */
export function compile(schema: JsonSchema): ValidateFunction {
  const known = compiled.get(schema);
  if (known !== undefined) return known;
  // Each schema gets its own instance, so that two schemas may carry the same $id.
  const validator = new Ajv2020(compileOptions).compile(schema);
  compiled.set(schema, validator);
  return validator;
}

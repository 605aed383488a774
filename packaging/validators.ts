/**
 * Generates, while the package is built, the validators of the schemas that every start of the daemon needs.
 * Compiling such a schema with ajv takes 130 ms, loading its validator 5 ms. Each further one would make the
 * packed package 6 to 20 kB larger.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as standalone from 'ajv/dist/standalone/index.js';
import { build } from 'esbuild';
import type { Metafile, Plugin } from 'esbuild';
import { compileOptions } from '../base/schema/compile.ts';
import type { JsonSchema } from '../base/schema/index.ts';
import { configSchema } from '../runtime/config/schema.ts';
import { trustPolicySchema } from '../trust/policy/schema.ts';

const root = join(import.meta.dirname, '..');

/** By the name of the generated file. */
export const generated: Readonly<Record<string, JsonSchema>> = {
  'daemon-config': configSchema,
  'trust-policy': trustPolicySchema,
};

/**
 * A schema finds its validator by its content, so that a validator of another version of the schema is never
 * used. The digest depends on the order of the fields, which is the same in the same code.
 */
const digestOf = (schema: JsonSchema): string =>
  createHash('sha256').update(JSON.stringify(schema)).digest('hex');

const codeOf = (schema: JsonSchema): string => {
  const ajv = new Ajv2020({ ...compileOptions, code: { source: true } });
  return standalone.default.default(ajv, ajv.compile(schema));
};

/** By the name of its schema: the code of a validator, and its file, relative to the folder of the bundle. */
export const validators: ReadonlyMap<string, { readonly file: string; readonly code: string }> = new Map(
  Object.entries(generated).map(([name, schema]) => {
    const code = codeOf(schema);
    // A daemon that still runs while its package is upgraded must not load code of another version.
    const digest = createHash('sha256').update(code).digest('hex').slice(0, 16);
    return [name, { file: `validators/${name}-${digest}.cjs`, code }];
  }),
);

/** Replaces base/schema/compile.ts, and loads it for all other schemas. */
const lookup = `
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
const fromFolder = createRequire(import.meta.url);
const files = new Map(${JSON.stringify(
  Object.entries(generated).map(([name, schema]) => [digestOf(schema), `./${validators.get(name)?.file}`]),
)});
const loaded = new WeakMap();
export function compile(schema) {
  const known = loaded.get(schema);
  if (known !== undefined) return known;
  const file = files.get(createHash('sha256').update(JSON.stringify(schema)).digest('hex'));
  const validator = (file && generatedIn(file)) ?? require('./compile.ts').compile(schema);
  loaded.set(schema, validator);
  return validator;
}
function generatedIn(file) {
  try {
    return fromFolder(file);
  } catch {
    // The package has been upgraded since this process started, or no descriptor is free. Compiling needs none.
    return undefined;
  }
}
`;

/** Makes the bundle look for a generated validator first. */
export const generatedValidators: Plugin = {
  name: 'generated-validators',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^\.\/compile\.ts$/ }, ({ importer, kind }) =>
      importer === join(root, 'base/schema/validate.ts') && kind === 'import-statement'
        ? { path: 'lookup', namespace: 'validators' }
        : undefined,
    );
    onLoad({ filter: /^lookup$/, namespace: 'validators' }, () => ({
      contents: lookup,
      resolveDir: join(root, 'base/schema'),
    }));
  },
};

/**
 * Writes a CommonJS module for each schema into the folder of the bundle. Each is a separate file, because V8
 * keeps the text of all code in a file that it has loaded.
 */
export async function writeValidators(folder: string): Promise<Metafile> {
  const results = await Promise.all(
    [...validators.values()].map(({ file, code }) =>
      build({
        stdin: { contents: code, resolveDir: root, sourcefile: 'packaging/validators.ts' },
        absWorkingDir: root,
        outfile: join(folder, file),
        bundle: true,
        format: 'cjs',
        platform: 'node',
        target: 'node22.19',
        minify: true,
        metafile: true,
        logLevel: 'warning',
      }),
    ),
  );
  return {
    inputs: Object.assign({}, ...results.map(({ metafile }) => metafile.inputs)) as Metafile['inputs'],
    outputs: Object.assign({}, ...results.map(({ metafile }) => metafile.outputs)) as Metafile['outputs'],
  };
}

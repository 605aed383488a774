import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { catalogEntries } from './catalog.ts';

/** Requirements of SchemaStore for an entry (schema-catalog.json). */
const entrySchema = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'url', 'description'],
  properties: {
    name: { type: 'string' },
    description: { type: 'string' },
    fileMatch: { type: 'array', uniqueItems: true, items: { type: 'string' } },
    url: { type: 'string', pattern: '^https://' },
    versions: { type: 'object', additionalProperties: { type: 'string', pattern: '^https://' } },
  },
};

/** The fields that begin every document. */
const common = new Set(['.$schema', '.apiVersion', '.kind', '.metadata']);

type Schema = Readonly<Record<string, unknown>>;

/** Returns the schema that a reference names, such as #/$defs/rule. */
const referred = (root: Schema, reference: string): Schema =>
  reference
    .split('/')
    .slice(1)
    .reduce((part, step) => part[step] as Schema, root);

/** Returns the paths of the fields that have no description, neither their own nor by a reference. */
function undescribed(schema: unknown, root: Schema, path = ''): readonly string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  return Object.entries(schema).flatMap(([keyword, below]) => {
    if (keyword !== 'properties') return undescribed(below, root, path);
    return Object.entries(below as Readonly<Record<string, Schema>>).flatMap(([field, value]) => {
      const at = `${path}.${field}`;
      const {
        $ref,
        description = typeof $ref === 'string' ? referred(root, $ref)['description'] : undefined,
      } = value;
      return [...(description !== undefined || common.has(at) ? [] : [at]), ...undescribed(value, root, at)];
    });
  });
}

describe('the entries for SchemaStore', () => {
  const entries = catalogEntries();

  it('have the form of the catalog, and equal the published entries', () => {
    const validate = new Ajv().compile({ type: 'array', items: entrySchema });
    assert.ok(validate(entries), JSON.stringify(validate.errors));
    const published: unknown = JSON.parse(
      readFileSync(join(import.meta.dirname, 'schemastore.json'), 'utf8'),
    );
    assert.deepEqual(published, entries, 'run: sh packaging/node test/house/editor-catalog.ts');
  });

  it('share no file name, and use no file name of other programs', () => {
    const names = entries.flatMap(({ fileMatch }) => fileMatch);
    assert.equal(new Set(names).size, names.length);
    for (const name of names)
      assert.match(name, /^(?:\*\.[a-z-]+\.(?:ya?ml|json)|\*\*\/portcullis\/[a-z*/]+\.ya?ml)$/u);
  });

  it('are all listed in docs/editors.md, with a file name', () => {
    const document = readFileSync(join(import.meta.dirname, '../../docs/editors.md'), 'utf8');
    const missing = entries.filter(({ url, fileMatch: [name = ''] }) => {
      const row = document.split('\n').find((line) => line.includes(`](schemas/${basename(url)})`));
      return row?.includes(`\`${name.replace('**/', '')}\``) !== true;
    });
    assert.deepEqual(missing, []);
  });

  for (const { url, name } of entries)
    it(`${name}: the schema has its address as $id, and is a valid schema of its draft`, () => {
      const text = readFileSync(join(import.meta.dirname, '../../docs/schemas', basename(url)), 'utf8');
      const schema = JSON.parse(text) as { $id: string; $schema: string };
      assert.equal(schema.$id, url);
      assert.equal(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
      const ajv = new Ajv2020({ strict: false, validateFormats: false });
      assert.ok(ajv.validateSchema(schema), JSON.stringify(ajv.errors));
    });

  for (const { url, name } of entries)
    it(`${name}: the schema describes every field`, () => {
      const text = readFileSync(join(import.meta.dirname, '../../docs/schemas', basename(url)), 'utf8');
      const schema = JSON.parse(text) as Schema;
      assert.deepEqual(undescribed(schema, schema), []);
    });
});

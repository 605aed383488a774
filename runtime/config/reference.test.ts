import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { configOptions, configurationReference, publishedSchema } from './generate-reference.ts';
import { configFlags } from './flags.ts';
import { configSchema } from './schema.ts';

const again = 'run: sh packaging/node test/house/config-reference.ts';

test('docs/configuration.md is current', () => {
  const written = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
  assert.equal(written, configurationReference(), again);
});

test('the published schema is the schema with which the configuration is checked', () => {
  const written = readFileSync(new URL('../../docs/schemas/configuration.json', import.meta.url), 'utf8');
  assert.deepEqual(JSON.parse(written), JSON.parse(JSON.stringify(publishedSchema())), again);
});

test('every flag sets an option that exists', () => {
  for (const flag of configFlags) {
    let schema = configSchema;
    for (const key of flag.sets.split('.')) {
      const next = schema.properties?.[key];
      assert.ok(next, `${flag.name} sets ${flag.sets}`);
      schema = next;
    }
  }
});

test('an empty text is a default that the reference shows as the file has it', () => {
  const address = configOptions().find(({ name }) => name === 'metrics.address');
  assert.equal(address?.value, "''");
});

test('the reference names an option of the type integer that lacks a bound', () => {
  const minutes = { type: 'integer', description: 'Minutes.', minimum: 1 } as const;
  const schema = { type: 'object', description: 'File.', properties: { minutes } } as const;
  assert.throws(() => configOptions(schema), /^Error: the option minutes has no minimum or no maximum/);
});

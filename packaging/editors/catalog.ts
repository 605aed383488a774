import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const schemas = join(import.meta.dirname, '../../docs/schemas');

/** An entry of the catalog of SchemaStore (schema-catalog.json). */
export interface CatalogEntry {
  readonly name: string;
  readonly description: string;
  readonly fileMatch: readonly string[];
  readonly url: string;
}

/** File names by which editors find a schema. They are not names that other programs use. */
const fileNames: Readonly<Record<string, readonly string[]>> = {
  'configuration.json': ['**/portcullis/config.yaml', '**/portcullis/config.yml'],
  'entitlement-profile.json': namesOf('entitlementprofile'),
  'node-group.json': namesOf('nodegroup'),
  'node-state.json': namesOf('nodestate'),
  'policy-test.json': namesOf('policytest'),
  'service.json': [...namesOf('portcullis-service'), '**/portcullis/services/*.yaml'],
  'trust-policy.json': namesOf('trustpolicy'),
  'waivers.json': namesOf('portcullis-waivers'),
};

/**
 * Returns the entries for the catalog of SchemaStore, from the schemas that are published.
 * @throws Error if a schema has no file names, no title or no description
 */
export function catalogEntries(): readonly CatalogEntry[] {
  return readdirSync(schemas)
    .sort()
    .map((file) => {
      const { $id, title, description } = JSON.parse(readFileSync(join(schemas, file), 'utf8')) as Partial<
        Record<'$id' | 'title' | 'description', string>
      >;
      const fileMatch = fileNames[file];
      if (fileMatch === undefined || $id === undefined || title === undefined || description === undefined)
        throw new Error(`docs/schemas/${file} lacks a title, a description, an $id or file names`);
      return { name: title, description, fileMatch, url: $id };
    });
}

function namesOf(kind: string): readonly string[] {
  return ['yaml', 'yml', 'json'].map((extension) => `*.${kind}.${extension}`);
}

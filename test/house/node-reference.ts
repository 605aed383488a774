import { writeFileSync } from 'node:fs';
import { nodeSchemas } from '../../node/document/schemas.fixture.ts';
import { formatted } from './format.ts';

/** Writes the published schemas of `portcullis node`: `sh packaging/node test/house/node-reference.ts`. */
for (const [name, schema] of Object.entries(nodeSchemas())) {
  const file = new URL(`../../docs/schemas/${name}.json`, import.meta.url);
  writeFileSync(file, formatted(file, JSON.stringify(schema)));
}

import { writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { nodeSchemas } from '../../node/document/schemas.fixture.ts';

/** Writes the published schemas of `portcullis node`: `sh packaging/node test/house/node-reference.ts`. */
for (const [name, schema] of Object.entries(nodeSchemas())) {
  const file = new URL(`../../docs/schemas/${name}.json`, import.meta.url);
  writeFileSync(
    file,
    await format(JSON.stringify(schema), { ...(await resolveConfig(file)), parser: 'json' }),
  );
}

import { writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { publishedSchema } from '../../runtime/config/generate-reference.ts';

/** Writes the published schema of the configuration: `sh packaging/node test/house/config-reference.ts`. */
const file = new URL('../../docs/schemas/configuration.json', import.meta.url);
const options = (await resolveConfig(file)) ?? {};
writeFileSync(file, await format(JSON.stringify(publishedSchema()), { ...options, parser: 'json' }));

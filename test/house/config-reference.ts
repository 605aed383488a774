import { writeFileSync } from 'node:fs';
import { publishedSchema } from '../../runtime/config/generate-reference.ts';
import { formatted } from './format.ts';

/** Writes the published schema of the configuration: `sh packaging/node test/house/config-reference.ts`. */
const file = new URL('../../docs/schemas/configuration.json', import.meta.url);
writeFileSync(file, formatted(file, JSON.stringify(publishedSchema())));

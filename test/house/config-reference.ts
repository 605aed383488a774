import { writeFileSync } from 'node:fs';
import { configurationReference, publishedSchema } from '../../runtime/config/generate-reference.ts';
import { formatted } from './format.ts';

/** Writes docs/configuration.md and its schema: `sh packaging/node test/house/config-reference.ts`. */
const docs = new URL('../../docs/', import.meta.url);
writeFileSync(new URL('configuration.md', docs), configurationReference());
const schema = new URL('schemas/configuration.json', docs);
writeFileSync(schema, formatted(schema, JSON.stringify(publishedSchema())));

import { writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { catalogEntries } from '../../packaging/editors/catalog.ts';

/** Writes the entries for the catalog of SchemaStore: `sh packaging/node test/house/editor-catalog.ts`. */
const file = new URL('../../packaging/editors/schemastore.json', import.meta.url);
const options = (await resolveConfig(file)) ?? {};
writeFileSync(file, await format(JSON.stringify(catalogEntries()), { ...options, parser: 'json' }));

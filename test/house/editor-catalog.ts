import { writeFileSync } from 'node:fs';
import { catalogEntries } from '../../packaging/editors/catalog.ts';
import { formatted } from './format.ts';

/** Writes the entries for the catalog of SchemaStore: `sh packaging/node test/house/editor-catalog.ts`. */
const file = new URL('../../packaging/editors/schemastore.json', import.meta.url);
writeFileSync(file, formatted(file, JSON.stringify(catalogEntries())));

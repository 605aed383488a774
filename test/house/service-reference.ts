import { writeFileSync } from 'node:fs';
import { serviceSchema } from '../../cni-plugins/services/description/schema.ts';
import { formatted } from './format.ts';

/** Writes the published schema of services: `sh packaging/node test/house/service-reference.ts`. */
const file = new URL('../../docs/schemas/service.json', import.meta.url);
writeFileSync(file, formatted(file, JSON.stringify(serviceSchema)));

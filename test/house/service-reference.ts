import { writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { serviceSchema } from '../../cni-plugins/services/description/schema.ts';

/** Writes the published schema of services: `sh packaging/node test/house/service-reference.ts`. */
const file = new URL('../../docs/schemas/service.json', import.meta.url);
writeFileSync(
  file,
  await format(JSON.stringify(serviceSchema), { ...(await resolveConfig(file)), parser: 'json' }),
);

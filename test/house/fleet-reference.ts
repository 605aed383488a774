import { readFileSync, writeFileSync } from 'node:fs';
import { apiOperations } from '../../fleet/api/operations.ts';
import { fieldTable } from './admin-reference.ts';
import { formatted } from './format.ts';

/**
 * Writes the reference of the API of the aggregator: `sh packaging/node test/house/fleet-reference.ts`. The
 * text before the first operation is written by hand.
 */
export const fleetReference = new URL('../../docs/fleet-api.md', import.meta.url);

const marker = '\n## Operations\n';

/** Returns the complete text of the page, from its hand-written head and the description. */
export function renderFleetReference(): string {
  const [head = ''] = readFileSync(fleetReference, 'utf8').split(marker);
  const sections = Object.entries(apiOperations).map(
    ([name, { summary, request }]) => `### \`GET /v1/${name}\`\n\n${summary}\n\n${fieldTable(request)}\n`,
  );
  const text = `${head}${marker}\n${sections.join('\n')}`;
  return formatted(fleetReference, text);
}

if (process.argv[1] === import.meta.filename) writeFileSync(fleetReference, renderFleetReference());

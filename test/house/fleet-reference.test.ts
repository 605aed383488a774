import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { alertCodes } from '../../fleet/api/alerts.ts';
import { fleetMetrics } from '../../fleet/service/catalogue.ts';
import { fleetReference, renderFleetReference } from './fleet-reference.ts';

const document = readFileSync(new URL('../../docs/fleet.md', import.meta.url), 'utf8');
/** Returns the cells of the table after a comment. */
const tableAfter = (comment: string): readonly (readonly string[])[] => {
  const [, rest = ''] = document.split(`<!-- ${comment}`);
  const table = rest.slice(rest.indexOf('\n|') + 1).split('\n\n')[0] ?? '';
  return table
    .split('\n')
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .map((cell) => cell.trim())
        .slice(1, -1),
    );
};

test('docs/fleet-api.md has the operations of the aggregator, as they are described', () => {
  const written = readFileSync(fleetReference, 'utf8');
  assert.equal(written, renderFleetReference(), 'run: sh packaging/node test/house/fleet-reference.ts');
});

test('docs/fleet.md lists each alert and each metric of the aggregator', () => {
  assert.deepEqual(
    tableAfter('alerts:'),
    Object.entries(alertCodes).map(([code, text]) => [`\`${code}\``, text]),
  );
  assert.deepEqual(
    tableAfter('metrics:'),
    Object.values(fleetMetrics).map(({ name, type, labels, help }) => [
      ...[`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(', '), help],
    ]),
  );
});

import { readFileSync, writeFileSync } from 'node:fs';
import { adminOperations } from '../../cni-plugins/admin/operations.ts';
import type { JsonSchema } from '../../base/schema/index.ts';
import { formatted } from './format.ts';

/**
 * Writes the reference of the admin API: `sh packaging/node test/house/admin-reference.ts`. The text before
 * the first operation is written by hand.
 */
export const adminReference = new URL('../../docs/admin-api.md', import.meta.url);

const marker = '\n## Operations\n';

interface Field {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly items?: Field;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Field>>;
  readonly required?: readonly string[];
}

const typeOf = ({ type, enum: values, items }: Field): string =>
  values !== undefined
    ? values.map((value) => `\`${value}\``).join(', ')
    : type === 'array'
      ? `list of ${items?.type ?? 'any'}`
      : (type ?? 'any');

function rowsOf({ properties = {}, required = [] }: Field, prefix = ''): string[] {
  return Object.entries(properties).flatMap(([name, field]) => [
    `| \`${prefix}${name}\` | ${typeOf(field)} | ${required.includes(name) ? 'yes' : ''} | ${field.description ?? ''} |`,
    ...rowsOf(field, `${prefix}${name}.`),
  ]);
}

/** Returns the table of the fields of a request. */
export function fieldTable(request: JsonSchema): string {
  const rows = rowsOf(request);
  return rows.length === 0
    ? 'The request has no fields.'
    : ['| field | type | required | meaning |', '| - | - | - | - |', ...rows].join('\n');
}

function sectionOf(name: string, summary: string, request: JsonSchema): string {
  return `### \`POST /v1/${name}\`\n\n${summary}\n\n${fieldTable(request)}\n`;
}

/** Returns the complete text of the page, from its hand-written head and the description. */
export function renderAdminReference(): string {
  const [head = ''] = readFileSync(adminReference, 'utf8').split(marker);
  const sections = Object.entries(adminOperations).map(([name, { summary, request }]) =>
    sectionOf(name, summary, request),
  );
  const text = `${head}${marker}\n${sections.join('\n')}`;
  return formatted(adminReference, text);
}

if (process.argv[1] === import.meta.filename) writeFileSync(adminReference, renderAdminReference());

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { block, cell, code, table } from './markdown.ts';

export interface SchemaPage {
  readonly name: string;
  readonly title: string;
  readonly text: string;
}

interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema | boolean;
  readonly additionalProperties?: Schema | boolean;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
}

const folder = join(import.meta.dirname, '../../docs/schemas');

/** Returns a page for each published schema: its fields in a table, and the schema itself. */
export function schemaPages(): SchemaPage[] {
  return readdirSync(folder)
    .sort()
    .map((file) => {
      const text = readFileSync(join(folder, file), 'utf8');
      const schema = JSON.parse(text) as Schema;
      const name = file.replace(/\.json$/, '');
      const title = schema.title ?? name;
      const parts = [
        `# ${title}`,
        `Fields of the schema \`${file}\`. A name with \`[]\` is an element of a list, and \`*\` stands for any key. A field in bold is required.`,
        table(['field', 'type', 'meaning'], rowsBelow(schema, '')),
        ...Object.entries(schema.$defs ?? {}).flatMap(([name_, definition]) => {
          const rows = rowsBelow(definition, '');
          return [
            `## ${name_}`,
            ...(definition.description === undefined ? [] : [definition.description]),
            ...(rows.length === 0
              ? [`Type: ${typeOf(definition)}`]
              : [table(['field', 'type', 'meaning'], rows)]),
          ];
        }),
        '## The schema',
        block('json', text),
      ];
      return { name, title, text: `${parts.join('\n\n')}\n` };
    });
}

/** Returns the row of a field and the rows below it. A reference is one row, which names the definition. */
function rowsAt(schema: Schema, path: string, required: boolean): string[][] {
  const meaning = [
    schema.description,
    schema.default === undefined ? undefined : `Default: ${code(JSON.stringify(schema.default))}.`,
  ];
  const name = required ? `**${code(path)}**` : code(path);
  return [
    [name, cell(typeOf(schema)), cell(meaning.filter((part) => part !== undefined).join(' '))],
    ...rowsBelow(schema, path),
  ];
}

function rowsBelow(schema: Schema, path: string): string[][] {
  const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
  const rows = [
    ...Object.entries(schema.properties ?? {}).flatMap(([name, child]) =>
      rowsAt(child, at(name), schema.required?.includes(name) === true),
    ),
    ...(typeof schema.additionalProperties === 'object'
      ? rowsAt(schema.additionalProperties, at('*'), false)
      : []),
    // The row of a list of texts also describes its elements.
    ...(typeof schema.items === 'object' ? rowsBelow(schema.items, `${path}[]`) : []),
    ...[...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])].flatMap((branch) =>
      rowsBelow(branch, path),
    ),
  ];
  // Several branches may have the same field.
  return rows.filter((row, index) => rows.findIndex((other) => other.join('|') === row.join('|')) === index);
}

function typeOf(schema: Schema): string {
  if (schema.$ref !== undefined) {
    // `#/$defs/requirement/properties/cosign` is a field of a definition: the link leads to the definition.
    const [, , definition = '', ...inside] = schema.$ref.split('/');
    return `[${inside.at(-1) ?? definition}](#${definition.toLowerCase()})`;
  }
  if (schema.const !== undefined) return code(JSON.stringify(schema.const));
  if (schema.enum !== undefined) return schema.enum.map((value) => code(JSON.stringify(value))).join(', ');
  const branches = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  if (branches.length > 0) return [...new Set(branches.map(typeOf))].join(' or ');
  if (schema.type === 'array')
    return typeof schema.items === 'object' ? `list of ${typeOf(schema.items)}` : 'list';
  if (typeof schema.type === 'string') return schema.type === 'object' ? 'map' : schema.type;
  return schema.type?.join(' or ') ?? (schema.properties === undefined ? 'any' : 'map');
}

import { readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { methodKey, parseDeclaration } from './declaration.ts';
import type { Contract, Declaration, FieldType, ScalarType } from './declaration.ts';

// Run as a program it writes contract.types.ts from contract.json: `node runtime/cri/contract/generate-types.ts`.

const typescript: Readonly<Record<ScalarType, string>> = {
  string: 'string',
  bytes: 'Uint8Array',
  bool: 'boolean',
  int32: 'number',
  uint32: 'number',
  int64: 'number',
  uint64: 'number',
  nanoseconds: 'bigint',
  double: 'number',
};

/** The text of `contract.types.ts` for a contract. */
export async function generateTypes(contract: Contract): Promise<string> {
  const blocks = [
    '// Generated from contract.json by generate-types.ts. Do not edit.',
    ...[...contract.enums].map(([name, values]) => {
      const members = Object.entries(values).map(([key, value]) => `${key}: ${value}`);
      return `export const ${name} = { ${members.join(', ')} } as const;\nexport type ${name} = (typeof ${name})[keyof typeof ${name}];`;
    }),
    ...[...contract.messages].map(([name, fields]) => {
      if (fields.length === 0) return `export type ${name} = Readonly<Record<never, never>>;`;
      const lines = fields.map((field) => {
        const type = typeText(field.type);
        if (field.repeated) return `readonly ${field.name}: readonly ${type}[];`;
        return `readonly ${field.name}${field.type.kind === 'message' ? '?' : ''}: ${type};`;
      });
      return `export interface ${name} {\n${lines.join('\n')}\n}`;
    }),
    ...[...contract.services].map(([name, methods]) => {
      const lines = methods.map(
        (method) =>
          `${methodKey(method.name)}: { request: ${method.request}; response: ${method.response}; stream: ${method.responseStream} };`,
      );
      return `export interface ${name} {\n${lines.join('\n')}\n}`;
    }),
  ];
  const file = new URL('./contract.types.ts', import.meta.url).pathname;
  return format(blocks.join('\n\n'), { ...(await resolveConfig(file)), filepath: file });
}

function typeText(type: FieldType): string {
  switch (type.kind) {
    case 'scalar':
      return typescript[type.scalar];
    case 'map':
      return `Readonly<Record<string, ${typeText(type.value)}>>`;
    default:
      return type.name;
  }
}

if (import.meta.main) {
  const declaration = JSON.parse(readFileSync(new URL('./contract.json', import.meta.url), 'utf8')) as Declaration;
  writeFileSync(new URL('./contract.types.ts', import.meta.url), await generateTypes(parseDeclaration(declaration)));
}

import { methodKey } from './declaration.ts';
import type { Contract, FieldType, ScalarType } from './declaration.ts';

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

/** Returns the text of `contract.types.ts` for a contract. */
export function generateTypes(contract: Contract): string {
  const enums = [...contract.enums].map(([name, values]) => {
    const members = Object.entries(values).map(([key, value]) => `  ${key}: ${value},`);
    return `export const ${name} = {\n${members.join('\n')}\n} as const;\nexport type ${name} = (typeof ${name})[keyof typeof ${name}];`;
  });
  const messages = [...contract.messages].map(([name, fields]) => {
    if (fields.length === 0) return `export type ${name} = Readonly<Record<never, never>>;`;
    return record(
      name,
      fields.map((field) => {
        if (field.repeated) return `readonly ${field.name}: readonly ${typeText(field.type)}[];`;
        return `readonly ${field.name}${field.type.kind === 'message' ? '?' : ''}: ${typeText(field.type)};`;
      }),
    );
  });
  const services = [...contract.services].map(([name, methods]) => {
    return record(
      name,
      methods.map(
        (method) =>
          `${methodKey(method.name)}: { request: ${method.request}; response: ${method.response}; stream: ${method.responseStream} };`,
      ),
    );
  });
  return `${['// Generated from contract.json by generate-types.ts. Do not edit.', ...enums, ...messages, ...services].join('\n\n')}\n`;
}

function record(name: string, lines: readonly string[]): string {
  return `export interface ${name} {\n${lines.map((line) => `  ${line}`).join('\n')}\n}`;
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

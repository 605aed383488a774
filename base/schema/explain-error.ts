import type { ErrorObject } from 'ajv';
import { closest } from '../lists/index.ts';

/**
 * Describes one ajv error in words. `extra` is a field below the error's own path whose position should be
 * shown.
 */
export function explain(error: ErrorObject): {
  readonly message: string;
  readonly fix?: string;
  readonly extra?: string;
} {
  const params = error.params as Record<string, unknown>;
  const text = (name: string): string => String(params[name]);
  switch (error.keyword) {
    case 'additionalProperties':
    case 'unevaluatedProperties': {
      const field = text(
        error.keyword === 'additionalProperties' ? 'additionalProperty' : 'unevaluatedProperty',
      );
      const known = knownFields(error.parentSchema);
      const near = closest(field, known);
      const fix =
        near !== undefined
          ? `did you mean \`${near}\`?`
          : known.length > 0
            ? `known here: ${listed(known)}`
            : 'remove it';
      return { message: `unknown field \`${field}\``, fix, extra: field };
    }
    case 'required':
      return { message: `the field \`${text('missingProperty')}\` is missing`, fix: 'add it' };
    case 'dependentRequired':
      return {
        message: `\`${text('property')}\` requires \`${text('missingProperty')}\` in the same mapping`,
        fix: 'add it',
      };
    case 'type':
      return { message: `must be ${types(error.schema)}, is ${typeName(error.data)}`, ...example(error) };
    case 'enum': {
      const allowed = (Array.isArray(error.schema) ? error.schema : []).map(String);
      const near = typeof error.data === 'string' ? closest(error.data, allowed) : undefined;
      const fix = near === undefined ? `use one of: ${listed(allowed)}` : `did you mean \`${near}\`?`;
      return { message: `${shown(error.data)} is not known here`, fix };
    }
    case 'const':
      return { message: `must be ${shown(error.schema)}, is ${shown(error.data)}` };
    case 'pattern':
      return {
        message: `${shown(error.data)} does not have the form ${String(error.schema)}`,
        ...described(error),
      };
    case 'minLength':
      return {
        message:
          params['limit'] === 1 ? 'must not be empty' : `must have at least ${text('limit')} characters`,
      };
    case 'maxLength':
      return { message: `must have at most ${text('limit')} characters` };
    case 'minItems':
      return {
        message:
          params['limit'] === 1 ? 'must not be an empty list' : `must have at least ${text('limit')} items`,
      };
    case 'maxItems':
      return { message: `must have at most ${text('limit')} items` };
    case 'minProperties':
      return {
        message: `must have at least ${text('limit')} field${params['limit'] === 1 ? '' : 's'}`,
        ...oneOfFields(error),
      };
    case 'maxProperties':
      return { message: `must have at most ${text('limit')} field${params['limit'] === 1 ? '' : 's'}` };
    case 'uniqueItems':
      return { message: `items ${text('i')} and ${text('j')} are the same`, fix: 'remove one of the two' };
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return { message: `must be ${text('comparison')} ${text('limit')}, is ${shown(error.data)}` };
    case 'propertyNames':
      return { message: `\`${text('propertyName')}\` is not a valid name here`, extra: text('propertyName') };
    case 'false schema':
      return { message: 'must not be given here', fix: 'remove it' };
    case 'anyOf':
    case 'oneOf':
      return alternatives(error);
    default:
      return { message: error.message ?? `fails \`${error.keyword}\`` };
  }
}

function alternatives(error: ErrorObject): { message: string; fix?: string } {
  const branches: unknown[] = Array.isArray(error.schema) ? error.schema : [];
  if (error.params['passingSchemas'] !== undefined && error.params['passingSchemas'] !== null) {
    return { message: 'fits more than one of the allowed forms', fix: 'keep the fields of one form only' };
  }
  const names = [
    ...new Set(branches.map((branch) => property(branch, 'type')).filter((type) => type !== undefined)),
  ];
  if (names.length > 0) return { message: `must be ${types(names.flat())}, is ${typeName(error.data)}` };
  return { message: `${shown(error.data)} fits none of the allowed forms` };
}

/** Returns the examples of the schema: a type alone does not say in which form a value is written. */
function example(error: ErrorObject): { fix?: string } {
  const examples = property(error.parentSchema, 'examples');
  return Array.isArray(examples) && examples.length > 0
    ? { fix: `write it as in ${examples.map(shown).join(' or ')}` }
    : {};
}

function described(error: ErrorObject): { fix?: string } {
  const description = property(error.parentSchema, 'description');
  return typeof description === 'string' ? { fix: description } : {};
}

function oneOfFields(error: ErrorObject): { fix?: string } {
  const known = knownFields(error.parentSchema);
  return known.length === 0 ? {} : { fix: `use: ${listed(known)}` };
}

/** The fields that a schema object names, directly and in its combinators. */
function knownFields(schema: unknown): string[] {
  const own = Object.entries((property(schema, 'properties') as Record<string, unknown> | undefined) ?? {});
  const inner = ['allOf', 'anyOf', 'oneOf'].flatMap((name) => {
    const branches = property(schema, name);
    return Array.isArray(branches) ? branches.flatMap(knownFields) : [];
  });
  return [...new Set([...own.filter(([, value]) => value !== false).map(([name]) => name), ...inner])];
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

const typeWords: Readonly<Record<string, string>> = {
  object: 'a mapping',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  null: 'empty',
};

function types(schema: unknown): string {
  const names = [
    ...new Set(
      (Array.isArray(schema) ? schema : [schema]).map((name) => typeWords[String(name)] ?? String(name)),
    ),
  ];
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} or ${names.at(-1)}` : (names[0] ?? '');
}

function typeName(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? `the text ${shown(value)}` : shown(value);
}

function shown(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

function listed(names: readonly string[]): string {
  const few = names.slice(0, 12).map((name) => `\`${name}\``);
  return names.length > few.length ? `${few.join(', ')}, …` : few.join(', ');
}

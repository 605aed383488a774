/** A schema in the form that a CustomResourceDefinition accepts. */
export type StructuralSchema = Readonly<Record<string, unknown>>;

type Schema = Readonly<Record<string, unknown>>;

/** Keywords that mean the same in a structural schema. Lengths and patterns are checked by the loader. */
const kept = ['description', 'minimum', 'maximum', 'minItems', 'maxItems', 'minLength', 'maxLength'] as const;
const unknownFields = { 'x-kubernetes-preserve-unknown-fields': true } as const;
const anything: StructuralSchema = { ...unknownFields };

/**
 * Converts one of this repository's JSON Schemas to a structural schema (Kubernetes, "Extend the Kubernetes
 * API with CustomResourceDefinitions", "Specifying a structural schema"). It accepts everything that the JSON
 * Schema accepts, and more: a structural schema has no references, no recursion and no alternatives of types.
 * Unknown fields are kept and not pruned, so that the loader sees a misspelled field and reports it.
 * @param root the schema with its `$defs`
 */
export function structuralSchema(root: Schema): StructuralSchema {
  return converted(root, root, []);
}

function converted(schema: Schema, root: Schema, open: readonly Schema[]): StructuralSchema {
  const referred = followed(schema, root);
  // Recursion ends where a definition contains itself.
  if (referred === undefined || open.includes(referred)) return anything;
  const inner = [...open, referred];
  // The description of a field takes precedence over that of the definition that it refers to.
  const target: Schema = {
    ...referred,
    ...(schema['description'] !== undefined && { description: schema['description'] }),
  };
  const alternatives = (['anyOf', 'oneOf', 'allOf'] as const).flatMap(
    (keyword) => (target[keyword] as readonly Schema[] | undefined) ?? [],
  );
  const described = Object.fromEntries(
    kept.flatMap((keyword) => (target[keyword] === undefined ? [] : [[keyword, target[keyword]]])),
  );
  const type = typeOf(target);
  if (alternatives.length > 0 || type === undefined)
    return {
      ...(typeof target['description'] === 'string' && { description: target['description'] }),
      ...anything,
    };
  if (type === 'array')
    return {
      type,
      ...described,
      items: converted((target['items'] as Schema | undefined) ?? {}, root, inner),
    };
  if (type !== 'object')
    return { type, ...described, ...(Array.isArray(valuesOf(target)) && { enum: valuesOf(target) }) };
  const properties = Object.entries(
    (target['properties'] as Readonly<Record<string, Schema>> | undefined) ?? {},
  );
  return {
    type,
    ...described,
    ...(Array.isArray(target['required']) && { required: target['required'] }),
    ...(properties.length > 0 && {
      properties: Object.fromEntries(properties.map(([name, of]) => [name, converted(of, root, inner)])),
    }),
    ...unknownFields,
  };
}

function followed(schema: Schema, root: Schema): Schema | undefined {
  const reference = schema['$ref'];
  if (typeof reference !== 'string') return schema;
  return reference
    .replace(/^#\//u, '')
    .split('/')
    .reduce<unknown>((part, step) => (part as Schema | undefined)?.[step], root) as Schema | undefined;
}

function valuesOf(schema: Schema): readonly unknown[] | undefined {
  if (schema['const'] !== undefined) return [schema['const']];
  return schema['enum'] as readonly unknown[] | undefined;
}

/** Returns the only type of a schema; undefined if it has several, or none. */
function typeOf(schema: Schema): string | undefined {
  const { type } = schema;
  if (typeof type === 'string') return type;
  if (type !== undefined) return undefined;
  const types = new Set((valuesOf(schema) ?? []).map((value) => typeof value));
  const [only] = types;
  return types.size === 1 && only === 'string' ? only : undefined;
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { customResourceDefinitions } from './definitions.ts';
import { structuralSchema } from './structural-schema.ts';

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

interface Definition {
  readonly spec: {
    readonly names: { readonly shortNames: readonly string[] };
    readonly versions: readonly {
      readonly schema: { readonly openAPIV3Schema: Schema };
      readonly additionalPrinterColumns: readonly { readonly name: string; readonly priority?: number }[];
    }[];
  };
}
const definitions = (): readonly Definition[] =>
  customResourceDefinitions() as unknown as readonly Definition[];

const unknown = { 'x-kubernetes-preserve-unknown-fields': true };

test('a schema becomes structural: no references, no recursion, no alternatives, and unknown fields are kept', () => {
  const schema = {
    type: 'object',
    additionalProperties: false,
    required: ['rules'],
    properties: {
      rules: { type: 'array', maxItems: 3, items: { $ref: '#/$defs/node' } },
      first: { $ref: '#/$defs/node', description: 'The first node.' },
      mode: { enum: ['a', 'b'], description: 'A mode.' },
      kind: { const: 'X' },
      scalar: { anyOf: [{ type: 'integer' }, { type: 'string' }] },
      many: { type: ['string', 'integer'] },
    },
    $defs: {
      node: { type: 'object', properties: { all: { type: 'array', items: { $ref: '#/$defs/node' } } } },
    },
  };
  assert.deepEqual(structuralSchema(schema), {
    type: 'object',
    required: ['rules'],
    properties: {
      rules: {
        type: 'array',
        maxItems: 3,
        items: { type: 'object', properties: { all: { type: 'array', items: unknown } }, ...unknown },
      },
      first: {
        type: 'object',
        description: 'The first node.',
        properties: { all: { type: 'array', items: unknown } },
        ...unknown,
      },
      mode: { type: 'string', description: 'A mode.', enum: ['a', 'b'] },
      kind: { type: 'string', enum: ['X'] },
      scalar: unknown,
      many: unknown,
    },
    ...unknown,
  });
});

test('the definitions contain no keyword that a structural schema must not have', () => {
  const text = JSON.stringify(customResourceDefinitions());
  for (const keyword of [
    '$ref',
    '$defs',
    '$schema',
    'anyOf',
    'oneOf',
    'allOf',
    'const',
    'patternProperties',
    'propertyNames',
    'additionalProperties',
  ])
    assert.ok(!text.includes(`"${keyword}":`), keyword);
});

test('the definitions describe every field, for kubectl explain', () => {
  const undescribed = (schema: Schema, path: string): readonly string[] => [
    ...Object.entries(schema.properties ?? {}).flatMap(([name, below]) => [
      ...(below.description === undefined ? [`${path}.${name}`] : []),
      ...undescribed(below, `${path}.${name}`),
    ]),
    ...(schema.items === undefined ? [] : undescribed(schema.items, `${path}[]`)),
  ];
  for (const { spec } of definitions())
    for (const { schema } of spec.versions)
      // The API server describes these three fields itself.
      assert.deepEqual(undescribed(schema.openAPIV3Schema, ''), ['.apiVersion', '.kind', '.metadata']);
});

test('kubectl get shows whether a document is in force, and rules only of documents that have rules', () => {
  const columns = definitions().map(({ spec }) =>
    spec.versions[0]?.additionalPrinterColumns
      .filter(({ priority = 0 }) => priority === 0)
      .map(({ name }) => name),
  );
  assert.deepEqual(columns, [
    ['Valid', 'InForce', 'Rules', 'Age'],
    ['Valid', 'InForce', 'Age'],
  ]);
});

test('the short names are not those of resources of Kubernetes, which take precedence', () => {
  // kubectl api-resources of Kubernetes 1.36
  const ofKubernetes = new Set(
    `cj cm crd crds cs csr deploy ds ep ev hpa ing ip limits netpol no ns pc pdb po pv pvc quota rc rs sa sc sts svc
    vac`.split(/\s+/),
  );
  for (const { spec } of definitions())
    for (const name of spec.names.shortNames) assert.ok(!ofKubernetes.has(name), name);
});

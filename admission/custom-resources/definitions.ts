import { profileSchema } from '../../entitlements/index.ts';
import { trustPolicySchema } from '../../trust/policy/index.ts';
import { structuralSchema } from './structural-schema.ts';
import type { StructuralSchema } from './structural-schema.ts';

/** A kind of this repository's documents, as a custom resource. */
export interface CustomResource {
  readonly kind: 'TrustPolicy' | 'EntitlementProfile';
  readonly plural: string;
  readonly singular: string;
  readonly shortName: string;
}

export const resourceGroup = 'portcullis.dev';
export const resourceVersion = 'v1alpha1';
/** The kinds that a policy consists of. Both belong to the cluster. */
export const customResources: readonly CustomResource[] = [
  { kind: 'TrustPolicy', plural: 'trustpolicies', singular: 'trustpolicy', shortName: 'tp' },
  {
    kind: 'EntitlementProfile',
    plural: 'entitlementprofiles',
    singular: 'entitlementprofile',
    shortName: 'eprof',
  },
];

/** Returns the path of the collection. */
export const collectionPath = ({ plural }: CustomResource): string =>
  `/apis/${resourceGroup}/${resourceVersion}/${plural}`;

const text = { type: 'string' };
const count = { type: 'integer', format: 'int64' };
const describedText = (description: string) => ({ ...text, description });
const describedCount = (description: string) => ({ ...count, description });
/** The schema of the status that the webhook writes about an object. */
const statusSchema = {
  type: 'object',
  description: 'The result of the last check of this object. The webhook or a node writes it.',
  properties: {
    observedGeneration: describedCount('The generation that this status describes.'),
    revision: describedText('The revision of the policy in force, if this object is part of it.'),
    rules: describedCount('How many rules the document has.'),
    conditions: {
      type: 'array',
      description:
        'Valid: the document has no problem. InForce: the webhook uses the document for its decisions.',
      items: {
        type: 'object',
        required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'],
        properties: {
          type: describedText('Valid or InForce.'),
          status: { ...describedText('Whether the condition is met.'), enum: ['True', 'False', 'Unknown'] },
          observedGeneration: describedCount('The generation that this condition describes.'),
          lastTransitionTime: {
            ...describedText('The last time that `status` changed.'),
            format: 'date-time',
          },
          reason: describedText('The reason for `status`, in one word.'),
          message: describedText('The reason for `status`, for people.'),
        },
      },
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
    },
    problems: {
      type: 'array',
      description:
        'What is wrong with the document. Line and column refer to the document as YAML, without its status.',
      items: {
        type: 'object',
        properties: {
          path: describedText('The field with the problem, such as rules[0].images.'),
          line: describedCount('The line of the field, from 1.'),
          column: describedCount('The column of the field, from 1.'),
          message: describedText('The problem.'),
          fix: describedText('The change that solves the problem.'),
        },
      },
    },
  },
};

/** Returns the CustomResourceDefinitions (apiextensions.k8s.io/v1), generated from the JSON Schemas. */
export function customResourceDefinitions(): readonly Readonly<Record<string, unknown>>[] {
  return customResources.map(({ kind, plural, singular, shortName }) => ({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${resourceGroup}` },
    spec: {
      group: resourceGroup,
      scope: 'Cluster',
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular,
        shortNames: [shortName],
        categories: ['portcullis'],
      },
      versions: [
        {
          name: resourceVersion,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: printerColumns(kind),
          schema: { openAPIV3Schema: objectSchema(kind) },
        },
      ],
    },
  }));
}

/** Returns the columns of `kubectl get`. The revision is long: `-o wide` shows it. */
function printerColumns(kind: CustomResource['kind']): readonly object[] {
  const condition = (name: string): object => ({
    name,
    type: 'string',
    jsonPath: `.status.conditions[?(@.type=="${name}")].status`,
  });
  return [
    condition('Valid'),
    condition('InForce'),
    ...(kind === 'TrustPolicy' ? [{ name: 'Rules', type: 'integer', jsonPath: '.status.rules' }] : []),
    { name: 'Revision', type: 'string', jsonPath: '.status.revision', priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ];
}

function objectSchema(kind: CustomResource['kind']): StructuralSchema {
  const schema = structuralSchema(kind === 'TrustPolicy' ? trustPolicySchema : profileSchema);
  const {
    $schema: _schema,
    metadata: _metadata,
    ...properties
  } = schema['properties'] as Record<string, unknown>;
  const required = (schema['required'] as readonly string[]).filter((name) => name !== 'metadata');
  return {
    ...schema,
    required,
    properties: {
      ...properties,
      apiVersion: text,
      kind: text,
      metadata: { type: 'object' },
      status: statusSchema,
    },
  };
}

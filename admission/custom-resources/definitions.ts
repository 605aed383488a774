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
    shortName: 'ep',
  },
];

/** Returns the path of the collection. */
export const collectionPath = ({ plural }: CustomResource): string =>
  `/apis/${resourceGroup}/${resourceVersion}/${plural}`;

const text = { type: 'string' };
const count = { type: 'integer', format: 'int64' };
/** The schema of the status that the webhook writes about an object. */
const statusSchema = {
  type: 'object',
  properties: {
    observedGeneration: { ...count, description: 'The generation that this status describes.' },
    revision: { ...text, description: 'The revision of the policy in force, if this object is part of it.' },
    rules: { ...count, description: 'How many rules the document has.' },
    conditions: {
      type: 'array',
      description:
        'Valid: the document has no problem. InForce: the webhook uses the document for its decisions.',
      items: {
        type: 'object',
        required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'],
        properties: {
          type: text,
          status: { type: 'string', enum: ['True', 'False', 'Unknown'] },
          observedGeneration: count,
          lastTransitionTime: { type: 'string', format: 'date-time' },
          reason: text,
          message: text,
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
        properties: { path: text, line: count, column: count, message: text, fix: text },
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
          additionalPrinterColumns: [
            { name: 'Valid', type: 'string', jsonPath: '.status.conditions[?(@.type=="Valid")].status' },
            { name: 'Revision', type: 'string', jsonPath: '.status.revision' },
            { name: 'Rules', type: 'integer', jsonPath: '.status.rules' },
            { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
          ],
          schema: { openAPIV3Schema: objectSchema(kind) },
        },
      ],
    },
  }));
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

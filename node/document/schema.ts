import type { JsonSchema } from '../../base/schema/index.ts';
import type { Controller } from '../model/types.ts';

/** The maximum number of labels of a node. */
export const mostLabels = 50;

export const nodeApiVersion = 'portcullis.dev/v1alpha1';
const dialect = 'https://json-schema.org/draft/2020-12/schema';
const metadata = (required: readonly string[]): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  required,
  properties: {
    name: {
      type: 'string',
      pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$',
      description: 'Name of the document.',
    },
  },
});

const sectionsOf = (controllers: readonly Controller[]): Readonly<Record<string, JsonSchema>> =>
  Object.fromEntries(
    controllers
      .map(({ section, schema }) => [section, schema] as const)
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );

/** Returns the schema of a NodeState document. Its sections are those of the controllers. */
export function nodeStateSchema(controllers: readonly Controller[]): JsonSchema {
  return {
    $schema: dialect,
    $id: 'https://portcullis.dev/schemas/v1alpha1/node-state.json',
    title: 'Portcullis NodeState',
    description:
      'The desired state of a node. An absent section is empty: objects that were created for an earlier state are removed.',
    type: 'object',
    additionalProperties: false,
    required: ['apiVersion', 'kind'],
    properties: {
      $schema: { type: 'string' },
      apiVersion: { const: nodeApiVersion },
      kind: { const: 'NodeState' },
      metadata: metadata([]),
      ...sectionsOf(controllers),
    },
  };
}

const seconds = (description: string, least: number, most: number): JsonSchema => ({
  type: 'integer',
  minimum: least,
  maximum: most,
  description,
});

/** Returns the schema of a NodeGroup document. */
export function nodeGroupSchema(controllers: readonly Controller[]): JsonSchema {
  return {
    $schema: dialect,
    $id: 'https://portcullis.dev/schemas/v1alpha1/node-group.json',
    title: 'Portcullis NodeGroup',
    description: 'Nodes that get one state, a few at a time.',
    type: 'object',
    additionalProperties: false,
    required: ['apiVersion', 'kind', 'metadata', 'selector', 'template'],
    properties: {
      $schema: { type: 'string' },
      apiVersion: { const: nodeApiVersion },
      kind: { const: 'NodeGroup' },
      metadata: metadata(['name']),
      selector: {
        type: 'object',
        description: 'The nodes of the group. A node is selected by its name, or by all of the labels.',
        additionalProperties: false,
        minProperties: 1,
        properties: {
          names: {
            type: 'array',
            minItems: 1,
            maxItems: 5000,
            items: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$' },
            description: 'Names of nodes.',
          },
          labels: {
            type: 'object',
            minProperties: 1,
            maxProperties: mostLabels,
            additionalProperties: { type: 'string', maxLength: 63 },
            description: 'Labels that a node must have, as `node serve --label` gives them.',
          },
        },
      },
      template: {
        type: 'object',
        description: 'The state of each node: the sections of a NodeState document.',
        additionalProperties: false,
        properties: sectionsOf(controllers),
      },
      rollout: {
        type: 'object',
        description: 'How a change reaches the nodes.',
        additionalProperties: false,
        properties: {
          maxUnavailable: {
            type: 'integer',
            minimum: 1,
            maximum: 1000,
            description: 'How many nodes change at one time. Default: 1.',
          },
          pauseSeconds: seconds(
            'How long a node keeps its place after it passed the health gate. Default: 0.',
            0,
            86_400,
          ),
          deadlineSeconds: seconds(
            'How long a node may take to pass the health gate. Afterwards the rollout is halted. Default: 600.',
            5,
            86_400,
          ),
          gate: {
            type: 'object',
            description: 'The conditions that a node must meet before the next node changes.',
            additionalProperties: false,
            properties: {
              healthySeconds: seconds(
                'How long every section must be in its desired state without a break. Default: 10.',
                0,
                86_400,
              ),
              daemonReady: {
                type: 'boolean',
                description: 'The daemon reports that its runtime and its network are ready. Default: true.',
              },
            },
          },
        },
      },
    },
  };
}

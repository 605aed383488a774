import type { JsonSchema } from '../../../base/schema/index.ts';

/**
 * The objects as Kubernetes' API defines them (v1.36, networking.k8s.io/v1), without null members, which the
 * API treats as absent. An unknown field of `spec` is refused, because a misspelt rule would be a different
 * rule.
 */

const labelValue = {
  type: 'string',
  pattern: '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$',
  maxLength: 63,
};
const labelKey = '^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$';
const name = { type: 'string', pattern: '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$', maxLength: 253 };
const keyText = { pattern: labelKey, maxLength: 317 };
const labels = { type: 'object', additionalProperties: labelValue, propertyNames: keyText };
/**
 * For selectors: the API keeps policies of older versions with values that no label can have
 * (AllowInvalidLabelValueInSelector). They match nothing.
 */
const selectedValue = { type: 'string' };

const requirement = {
  type: 'object',
  additionalProperties: false,
  required: ['key', 'operator'],
  properties: {
    key: { type: 'string', ...keyText },
    operator: { enum: ['In', 'NotIn', 'Exists', 'DoesNotExist'] },
    values: { type: 'array', items: selectedValue },
  },
};

export const selectorSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    matchLabels: { type: 'object', additionalProperties: selectedValue, propertyNames: keyText },
    matchExpressions: { type: 'array', items: requirement },
  },
};

const port = {
  type: 'object',
  additionalProperties: false,
  properties: {
    protocol: { enum: ['TCP', 'UDP', 'SCTP'] },
    port: {
      type: ['integer', 'string'],
      minimum: 1,
      maximum: 65535,
      pattern: '^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$',
    },
    endPort: { type: 'integer', minimum: 1, maximum: 65535 },
  },
};

const peer = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    podSelector: selectorSchema,
    namespaceSelector: selectorSchema,
    ipBlock: {
      type: 'object',
      additionalProperties: false,
      required: ['cidr'],
      properties: { cidr: { type: 'string' }, except: { type: 'array', items: { type: 'string' } } },
    },
  },
};

const rule = (peers: 'from' | 'to'): object => ({
  type: 'object',
  additionalProperties: false,
  properties: { [peers]: { type: 'array', items: peer }, ports: { type: 'array', items: port } },
});

const metadata = (namespaced: boolean): object => ({
  type: 'object',
  required: ['name'],
  properties: { name, ...(namespaced ? { namespace: name } : { labels }) },
});

export const networkPolicySchema: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'metadata', 'spec'],
  properties: {
    apiVersion: { const: 'networking.k8s.io/v1' },
    kind: { const: 'NetworkPolicy' },
    metadata: metadata(true),
    spec: {
      type: 'object',
      additionalProperties: false,
      properties: {
        podSelector: selectorSchema,
        policyTypes: { type: 'array', items: { enum: ['Ingress', 'Egress'] } },
        ingress: { type: 'array', items: rule('from') },
        egress: { type: 'array', items: rule('to') },
      },
    },
    status: { type: 'object' },
  },
};

export const namespaceSchema: JsonSchema = {
  type: 'object',
  required: ['apiVersion', 'kind', 'metadata'],
  properties: { apiVersion: { const: 'v1' }, kind: { const: 'Namespace' }, metadata: metadata(false) },
};

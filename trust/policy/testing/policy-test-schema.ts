import { instantPattern } from '../../requirements/duration.ts';
import { apiVersion } from '../schema.ts';

const text = { type: 'string', minLength: 1, maxLength: 1024 } as const;
const annotations = {
  type: 'object',
  maxProperties: 100,
  additionalProperties: { type: 'string', maxLength: 1024 },
  description: 'Signed annotations.',
} as const;
const over = {
  enum: ['index', 'manifest', 'other'],
  description: "The signed manifest: the index, the platform's manifest (default), or another image.",
} as const;

/** JSON Schema (draft 2020-12) of a `kind: PolicyTest` document. */
export const policyTestSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://portcullis.dev/schemas/v1alpha1/policy-test.json',
  title: 'Portcullis PolicyTest',
  description: 'Images with stated or recorded evidence, and the expected verdict of a policy about each.',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'cases'],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: apiVersion },
    kind: { const: 'PolicyTest' },
    metadata: {
      type: 'object',
      additionalProperties: false,
      properties: { name: { ...text, description: 'A name of the document, for people.' } },
    },
    policy: {
      type: 'array',
      minItems: 1,
      maxItems: 100,
      items: text,
      description: 'Policy files or folders, relative to this file. --policy replaces them.',
    },
    keys: {
      type: 'object',
      maxProperties: 100,
      additionalProperties: text,
      description:
        'Name to key file of the policy, relative to this file. In these tests a new key replaces the key file.',
    },
    now: {
      type: 'string',
      pattern: instantPattern,
      description: 'write when the decisions are made, such as 2026-01-31T12:00:00Z',
    },
    cases: {
      type: 'array',
      minItems: 1,
      maxItems: 1000,
      items: { $ref: '#/$defs/case' },
      description: 'The cases: an image with its evidence, and the expected verdict.',
    },
  },
  $defs: {
    case: {
      type: 'object',
      additionalProperties: false,
      required: ['name', 'expect'],
      properties: {
        name: { ...text, description: 'Name of the case in the result of the test.' },
        image: { ...text, description: 'The requested reference. A dossier has its own.' },
        namespace: {
          type: 'string',
          maxLength: 253,
          description: 'Kubernetes namespace of the pod. If omitted, rules for namespaces do not match.',
        },
        platform: {
          type: 'string',
          pattern: '^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$',
          description: 'write OS/ARCHITECTURE, such as linux/amd64',
        },
        now: {
          type: 'string',
          pattern: instantPattern,
          description: 'write a time, such as 2026-01-31T12:00:00Z',
        },
        dossier: {
          ...text,
          description: 'A file that `portcullis verify --save-dossier FILE` wrote, relative to this file.',
        },
        index: { type: 'boolean', description: 'The image has an index of platforms.' },
        signed: {
          type: 'array',
          maxItems: 50,
          items: { $ref: '#/$defs/signature' },
          description: 'Signatures that the image has.',
        },
        attested: {
          type: 'array',
          maxItems: 50,
          items: { $ref: '#/$defs/attestation' },
          description: 'Attestations that the image has.',
        },
        unreachable: { type: 'boolean', description: 'The registry could not be reached for all evidence.' },
        expect: { enum: ['admit', 'deny', 'undecided'], description: 'The expected outcome of the verdict.' },
        reason: {
          ...text,
          description: 'A code that must be among the reasons, such as TRUST_SIGNATURE_OTHER_DIGEST.',
        },
        exception: {
          enum: ['break-glass', 'report'],
          description: 'The exception that must be the reason for the admission.',
        },
      },
    },
    signature: {
      type: 'object',
      additionalProperties: false,
      required: ['key'],
      properties: {
        key: { ...text, description: 'A name of `keys`. Any other name is a key that no policy knows.' },
        format: { enum: ['bundle', 'legacy'], description: 'Default: bundle.' },
        over,
        annotations,
        name: { ...text, description: 'The name in the older form. Default: the repository.' },
      },
    },
    attestation: {
      type: 'object',
      additionalProperties: false,
      required: ['key', 'type'],
      properties: {
        key: { ...text, description: 'A name of `keys`. Any other name is a key that no policy knows.' },
        type: { ...text, description: 'The predicate type.' },
        predicate: { type: 'object', description: 'The predicate. Default: empty.' },
        over,
      },
    },
  },
} as const;

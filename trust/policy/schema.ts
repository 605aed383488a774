import { gpgSchema } from '../gpg/policy.ts';
import { attestationSchema } from '../attestation/policy.ts';
import { pkiSchema } from '../pki/reader.ts';
import { tufSchema } from '../tuf/requirement/policy.ts';
import { logSchema, sigstoreSchema } from '../sigstore/schema.ts';
import { notationSchema } from '../notation/read-requirement.ts';
import { constraintProperties } from './constraints.ts';
import { durationPattern, instantPattern } from './duration.ts';

/** The id by which editors find the schema of a policy document. */
export const trustPolicySchemaId = 'https://portcullis.dev/schemas/v1alpha1/trust-policy.json';
export const apiVersion = 'portcullis.dev/v1alpha1';

const nonEmptyText = { type: 'string', minLength: 1, maxLength: 512 } as const;

const namespaces = {
  type: 'array',
  minItems: 1,
  maxItems: 1000,
  items: {
    ...nonEmptyText,
    pattern: '^[a-z0-9*]([a-z0-9*-]*[a-z0-9*])?$',
    description: 'write a Kubernetes namespace, "*" for any characters',
  },
} as const;

const mode = {
  enum: ['enforce', 'report'],
  description: 'report: an image that would be refused is admitted, and reported in the verdict, log, metric and doctor. Default: enforce.',
} as const;

const onStale = {
  description:
    'What applies when the service of `tuf` cannot be asked: deny, or images that were admitted before stay admitted for a time. Default: deny.',
  anyOf: [
    { const: 'deny' },
    {
      type: 'object',
      additionalProperties: false,
      required: ['previouslyAdmitted'],
      properties: {
        previouslyAdmitted: {
          type: 'object',
          additionalProperties: false,
          required: ['for'],
          properties: { for: { type: 'string', pattern: durationPattern, description: 'write a time such as 72h' } },
        },
      },
    },
  ],
} as const;

const breakGlass = {
  type: 'object',
  additionalProperties: false,
  required: ['until', 'reason', 'by'],
  description:
    'Admits images that would be refused, until this time, and reports it in the verdict, log, metric and doctor. Then it has no effect.',
  properties: {
    until: { type: 'string', pattern: instantPattern, description: 'write when it ends, such as 2026-01-31T18:00:00Z' },
    reason: nonEmptyText,
    by: { ...nonEmptyText, description: 'The person who is responsible for it.' },
  },
} as const;

/** JSON Schema (draft 2020-12) of a `kind: TrustPolicy` document, for editors and for `loadPolicy`. */
export const trustPolicySchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: trustPolicySchemaId,
  title: 'Portcullis TrustPolicy',
  description:
    'Which images may run, and what must be proven first. Every matching rule must admit; an image that no rule matches is denied.',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'rules'],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: apiVersion },
    kind: { const: 'TrustPolicy' },
    metadata: { type: 'object', additionalProperties: false, properties: { name: nonEmptyText } },
    namespaces: {
      ...namespaces,
      description:
        'The document is for these namespaces: there, its rules add requirements to those of other documents, and never admit by themselves.',
    },
    mode,
    breakGlass,
    default: { const: 'deny', description: 'What applies when no rule matches. The only value is deny.' },
    rules: { type: 'array', maxItems: 10_000, items: { $ref: '#/$defs/rule' } },
  },
  $defs: {
    rule: {
      type: 'object',
      additionalProperties: false,
      required: ['images'],
      properties: {
        images: {
          type: 'array',
          minItems: 1,
          maxItems: 1000,
          items: {
            ...nonEmptyText,
            description:
              'registry.example.com/pay/**: * is one path segment, ** any; localhost:*/dev/** is any port; app:v1* is by tag, app@sha256:… by digest.',
          },
        },
        except: {
          type: 'array',
          minItems: 1,
          maxItems: 10_000,
          items: {
            ...nonEmptyText,
            description:
              'Images that the rule does not match, although `images` matches them. Only the rules that match them decide about them.',
          },
        },
        namespaces: { ...namespaces, description: 'The rule matches only in these namespaces. * is any characters.' },
        require: { $ref: '#/$defs/requirement' },
        allow: { enum: ['unverified'], description: 'Admits without any proof, where no other rule matches.' },
        deny: { ...nonEmptyText, description: 'Denies, whatever is proven. The text is the reason.' },
        mode,
        breakGlass,
        onStale,
        entitlements: {
          type: 'object',
          additionalProperties: false,
          properties: {
            ceiling: { ...nonEmptyText, description: 'A profile, or privileged, baseline or restricted. Default: baseline.' },
            require: { enum: ['signed'], description: 'The publisher must have signed which entitlements the image needs.' },
            onDegraded: {
              enum: ['refuse', 'allow'],
              description:
                'What happens when a node cannot enforce the rules on files exactly. Default: refuse. allow: it enforces the closest rules that it can, and reports it.',
            },
          },
        },
      },
    },
    requirement: {
      type: 'object',
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
      properties: {
        all: { $ref: '#/$defs/requirements' },
        any: { $ref: '#/$defs/requirements' },
        threshold: {
          type: 'object',
          additionalProperties: false,
          required: ['count', 'of'],
          properties: { count: { type: 'integer', minimum: 1 }, of: { $ref: '#/$defs/requirements' } },
        },
        cosign: {
          type: 'object',
          additionalProperties: false,
          required: ['key'],
          properties: {
            key: { ...nonEmptyText, description: 'A PEM public key file, relative to this policy.' },
            ...constraintProperties,
            log: logSchema,
          },
        },
        tuf: tufSchema,
        sigstore: sigstoreSchema,
        pki: pkiSchema,
        notation: notationSchema,
        gpg: gpgSchema,
        attestation: attestationSchema,
      },
    },
    requirements: { type: 'array', minItems: 1, maxItems: 100, items: { $ref: '#/$defs/requirement' } },
  },
} as const;

import { gpgSchema } from '../gpg/policy.ts';
import { attestationSchema } from '../attestation/policy.ts';
import { summarySchema } from '../attestation/summary-policy.ts';
import { pkiSchema } from '../pki/reader.ts';
import { tufSchema } from '../tuf-requirement/policy.ts';
import { logSchema, sigstoreSchema } from '../sigstore/schema.ts';
import { notationSchema } from '../notation/read-requirement.ts';
import { constraintProperties } from '../requirements/constraints.ts';
import { durationPattern, instantPattern } from '../requirements/duration.ts';

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
    description: 'write a Kubernetes namespace; * matches any characters',
  },
} as const;

const mode = {
  enum: ['enforce', 'report'],
  description:
    'Whether images are refused (enforce), or only reported (report). With report, an image that would be refused is admitted, and reported in the verdict, the log, a metric and `portcullis doctor`. Default: enforce.',
} as const;

const onStale = {
  description:
    'The decision while the service of `tuf` cannot be reached. With deny, images are denied. With previouslyAdmitted, images that were admitted before stay admitted for the given time. Default: deny.',
  anyOf: [
    { const: 'deny' },
    {
      type: 'object',
      additionalProperties: false,
      required: ['previouslyAdmitted'],
      properties: {
        previouslyAdmitted: {
          description: 'Images that were admitted before stay admitted for the given time.',
          type: 'object',
          additionalProperties: false,
          required: ['for'],
          properties: {
            for: { type: 'string', pattern: durationPattern, description: 'write a time such as 72h' },
          },
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
    'An exception for an emergency. Until the given time, images that would be refused are admitted, and reported in the verdict, the log, a metric and `portcullis doctor`. After that time it has no effect.',
  properties: {
    until: {
      type: 'string',
      pattern: instantPattern,
      description: 'write when it ends, such as 2026-01-31T18:00:00Z',
    },
    reason: { ...nonEmptyText, description: 'The reason for the exception, for the reports.' },
    by: { ...nonEmptyText, description: 'The person who is responsible for the exception.' },
  },
} as const;

/** JSON Schema (draft 2020-12) of a `kind: TrustPolicy` document, for editors and for `loadPolicy`. */
export const trustPolicySchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: trustPolicySchemaId,
  title: 'Portcullis TrustPolicy',
  description:
    'A trust policy: which images may run, and what must be proven first. Every rule that matches an image must admit it. An image that no rule matches is denied.',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'rules'],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: apiVersion },
    kind: { const: 'TrustPolicy' },
    metadata: {
      type: 'object',
      additionalProperties: false,
      properties: { name: { ...nonEmptyText, description: 'A name of the document, for people.' } },
    },
    namespaces: {
      ...namespaces,
      description:
        'Namespaces that the document applies to. In these namespaces, its rules add requirements to those of other documents, and never admit an image by themselves.',
    },
    mode,
    breakGlass,
    default: {
      const: 'deny',
      description: 'The decision about an image that no rule matches. The only value is deny.',
    },
    rules: {
      type: 'array',
      maxItems: 10_000,
      items: { $ref: '#/$defs/rule' },
      description: 'The rules. Every rule that matches an image must admit it.',
    },
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
              'A pattern of image names, such as registry.example.com/pay/**. * matches one path segment, and ** any number of them. localhost:*/dev/** matches any port, app:v1* matches by tag, and app@sha256:… by digest.',
          },
          description: 'Patterns of the images that the rule matches.',
        },
        except: {
          type: 'array',
          minItems: 1,
          maxItems: 10_000,
          items: {
            ...nonEmptyText,
            description:
              'A pattern of images that the rule does not match, although `images` matches them. Only other rules decide about these images.',
          },
          description: 'Patterns of images that the rule does not match, although `images` matches them.',
        },
        namespaces: {
          ...namespaces,
          description:
            'Namespaces in which the rule matches. * matches any characters. If omitted, the rule matches in all namespaces.',
        },
        require: {
          $ref: '#/$defs/requirement',
          description: 'The requirement that an image must meet.',
        },
        allow: {
          enum: ['unverified'],
          description: 'Admits images without any proof, if no other rule matches them.',
        },
        deny: {
          ...nonEmptyText,
          description: 'Denies the images, whatever is proven. The text is reported as the reason.',
        },
        mode,
        breakGlass,
        onStale,
        entitlements: {
          type: 'object',
          additionalProperties: false,
          description: 'Bounds of what the containers of the images may do.',
          properties: {
            ceiling: {
              ...nonEmptyText,
              description:
                'Upper bound of what a container of the image may do: the name of a profile, or privileged, baseline or restricted. Default: baseline.',
            },
            require: {
              enum: ['signed'],
              description: 'Requires that the publisher has signed which entitlements the image needs.',
            },
            onDegraded: {
              enum: ['refuse', 'allow'],
              description:
                'The behaviour of a node that cannot enforce the rules on files exactly. With allow, the node enforces the closest rules that it can, and reports the difference. Default: refuse.',
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
        all: { $ref: '#/$defs/requirements', description: 'All of these requirements must be met.' },
        any: {
          $ref: '#/$defs/requirements',
          description: 'At least one of these requirements must be met.',
        },
        threshold: {
          type: 'object',
          additionalProperties: false,
          required: ['count', 'of'],
          description: 'A number of different signers must have signed.',
          properties: {
            count: { type: 'integer', minimum: 1, description: 'Number of signers that must have signed.' },
            of: {
              $ref: '#/$defs/requirements',
              description: 'Requirements that name the signers. Each signer counts once.',
            },
          },
        },
        cosign: {
          type: 'object',
          additionalProperties: false,
          required: ['key'],
          description: 'A cosign signature by a key.',
          properties: {
            key: {
              ...nonEmptyText,
              description: 'Path of a public key file (PEM), relative to this policy.',
            },
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
        vsa: summarySchema,
      },
    },
    requirements: { type: 'array', minItems: 1, maxItems: 100, items: { $ref: '#/$defs/requirement' } },
  },
} as const;

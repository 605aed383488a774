import { reasonCodes } from '../policy/reason-codes.ts';
import { apiVersion } from '../policy/schema.ts';
import { instantPattern } from '../requirements/duration.ts';

const text = { type: 'string', minLength: 1, maxLength: 512 } as const;

/**
 * The codes that a waiver may name: those of a proof that is missing, wrong or too old. Not those of a policy
 * that has no rule or says `deny`, of altered evidence, or of sources that did not answer: such a refusal is
 * mended elsewhere.
 */
export const waivableCodes: readonly string[] = Object.keys(reasonCodes).filter(
  (code) =>
    code === 'TRUST_REQUIREMENT_UNMET' ||
    (/^TRUST_(SIGNATURE|TIME|IDENTITY|ANNOTATION|KEY|CERTIFICATE|SIGSTORE|NOTATION|ATTESTATION|PREDICATE|CEL|TUF|VSA)_/.test(
      code,
    ) &&
      !/_(VALID|PASSED|LOGGED|SKIPPED|SIGNED|ADMITTED|UNREACHABLE|TOO_SLOW|OTHER_TYPE)$/.test(code)),
);

/** JSON Schema (draft 2020-12) of a `kind: Waivers` document. */
export const waiversSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://portcullis.dev/schemas/v1alpha1/waivers.json',
  title: 'Portcullis Waivers',
  description:
    'Refusals of the policy that the gate of a pipeline lets pass for a limited time. Nodes do not read them.',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'waivers'],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: apiVersion },
    kind: { const: 'Waivers' },
    metadata: {
      type: 'object',
      additionalProperties: false,
      properties: { name: { ...text, description: 'A name of the document, for people.' } },
    },
    waivers: {
      type: 'array',
      maxItems: 1000,
      items: { $ref: '#/$defs/waiver' },
      description: 'The waivers.',
    },
  },
  $defs: {
    waiver: {
      type: 'object',
      additionalProperties: false,
      required: ['id', 'images', 'codes', 'owner', 'reason', 'created', 'expires'],
      properties: {
        id: {
          type: 'string',
          pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$',
          description:
            'write letters, digits, ".", "_" and "-": the name of the waiver in reports, such as SEC-123',
        },
        images: {
          type: 'array',
          minItems: 1,
          maxItems: 100,
          items: { ...text, description: 'A pattern of image names, as in a rule of a policy.' },
          description: 'Patterns of the images that the waiver is for.',
        },
        digest: {
          type: 'string',
          pattern: '^sha256:[0-9a-f]{64}$',
          description:
            'write sha256: and 64 hexadecimal digits: the only image, index or manifest, that the waiver is for',
        },
        namespaces: {
          type: 'array',
          minItems: 1,
          maxItems: 100,
          items: {
            ...text,
            pattern: '^[a-z0-9*]([a-z0-9*-]*[a-z0-9*])?$',
            description: 'write a Kubernetes namespace; * matches any characters',
          },
          description: 'Namespaces that the waiver is for. If omitted, all namespaces.',
        },
        codes: {
          type: 'array',
          minItems: 1,
          maxItems: 100,
          items: { enum: waivableCodes },
          description:
            'The reasons that the waiver lets pass. A requirement counts as met if one of them is among its reasons.',
        },
        requirement: {
          ...text,
          description:
            'The only requirement that the waiver is for: cosign, sigstore, pki, notation, gpg, tuf, vsa, or the predicate type of an attestation.',
        },
        owner: { ...text, description: 'The person or team that is responsible for the waiver.' },
        reason: { ...text, description: 'The reason for the waiver, for the reports.' },
        created: {
          type: 'string',
          pattern: instantPattern,
          description: 'write when the waiver was made, such as 2026-01-31',
        },
        expires: {
          type: 'string',
          pattern: instantPattern,
          description: 'write when it ends, at most 90 days after `created`, such as 2026-03-31',
        },
      },
    },
  },
} as const;

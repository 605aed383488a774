import { constraintProperties } from '../requirements/constraints.ts';
import { claimNames } from './identity.ts';

/** The name of sigstore's public instance in a policy. */
export const publicGood = 'public-good';

const text = { type: 'string', minLength: 1, maxLength: 1024 } as const;
const count = (description: string) =>
  ({ type: ['boolean', 'integer'], minimum: 0, maximum: 8, description }) as const;

const root = {
  type: ['string', 'object'],
  minLength: 1,
  maxLength: 1024,
  additionalProperties: false,
  required: ['tuf'],
  description:
    'Authorities whose certificates, logs and timestamps are trusted: public-good (the default), a trusted_root.json relative to this policy, or a TUF repository that `portcullis sigstore-root update` has fetched.',
  properties: {
    tuf: {
      description: 'A TUF repository that `portcullis sigstore-root update` has fetched.',
      type: 'object',
      additionalProperties: false,
      required: ['url'],
      properties: {
        url: {
          ...text,
          pattern: '^https?://',
          description: 'write the URL of a TUF repository, such as https://tuf.example.com',
        },
        cache: {
          ...text,
          description: 'The folder that the roots are fetched into, when it is not the default.',
        },
      },
    },
  },
} as const;

/** JSON Schema of `cosign.log`. */
export const logSchema = {
  type: ['boolean', 'integer', 'object'],
  minimum: 0,
  maximum: 8,
  description:
    'Requires an entry in a transparency log: true, the number of logs, or an object with its own trusted root.',
  additionalProperties: false,
  properties: {
    root,
    count: { type: 'integer', minimum: 0, maximum: 8, description: 'Number of logs. Default: 1.' },
    timestamp: count('Number of timestamp authorities that must have signed it. Default: 0.'),
  },
} as const;

/** JSON Schema of `sigstore:` in a requirement. */
export const sigstoreSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['issuer', 'subject'],
  description: 'A keyless sigstore signature: by an identity that an OIDC issuer vouched for.',
  properties: {
    issuer: {
      ...text,
      description: 'The OIDC issuer, exactly, such as https://token.actions.githubusercontent.com.',
    },
    subject: {
      ...text,
      description:
        'The signer: an e-mail address or a URI, exact or a pattern. * matches any characters except "/", and at the end any characters; ** matches any characters.',
    },
    claims: {
      type: 'object',
      minProperties: 1,
      additionalProperties: false,
      description:
        'Other claims that the certificate must contain, by the names that Fulcio uses, each exact or a pattern.',
      properties: Object.fromEntries(
        claimNames.map((name) => [
          name,
          { ...text, description: 'The value of this claim in the certificate, exact or a pattern.' },
        ]),
      ),
    },
    root,
    log: count('Number of transparency logs that must contain it. Default: 1.'),
    timestamp: count('Number of timestamp authorities that must have signed it. Default: 0.'),
    certificateLog: count(
      'Number of certificate transparency logs that must contain its certificate. Default: 1.',
    ),
    ...constraintProperties,
  },
} as const;

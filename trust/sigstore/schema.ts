import { constraintProperties } from '../policy/constraints.ts';
import { claimNames } from './identity.ts';

/** The name of sigstore's public instance in a policy. */
export const publicGood = 'public-good';

const text = { type: 'string', minLength: 1, maxLength: 1024 } as const;
const count = (description: string) => ({ type: ['boolean', 'integer'], minimum: 0, maximum: 8, description }) as const;

const root = {
  type: ['string', 'object'],
  minLength: 1,
  maxLength: 1024,
  additionalProperties: false,
  required: ['tuf'],
  description:
    'Whose certificates, logs and time stamps are believed: public-good (unless told), a trusted_root.json relative to this policy, or a TUF repository that `portcullis sigstore-root update` has fetched.',
  properties: {
    tuf: {
      type: 'object',
      additionalProperties: false,
      required: ['url'],
      properties: {
        url: { ...text, pattern: '^https?://', description: 'write the URL of a TUF repository, such as https://tuf.example.com' },
        cache: { ...text, description: 'The folder that the roots are fetched into, when it is not the default.' },
      },
    },
  },
} as const;

/** JSON Schema of `cosign.log`. */
export const logSchema = {
  type: ['boolean', 'integer', 'object'],
  minimum: 0,
  maximum: 8,
  description: 'Demands an entry in a transparency log: true, in how many logs, or an object with a trusted root of its own.',
  additionalProperties: false,
  properties: {
    root,
    count: { type: 'integer', minimum: 0, maximum: 8, description: 'In how many logs; 1 unless told.' },
    timestamp: count('How many time stamp authorities must have seen it; none unless told.'),
  },
} as const;

/** JSON Schema of `sigstore:` in a requirement. */
export const sigstoreSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['issuer', 'subject'],
  description: 'A keyless sigstore signature: by an identity that an OIDC issuer vouched for.',
  properties: {
    issuer: { ...text, description: 'The OIDC issuer, exactly, such as https://token.actions.githubusercontent.com.' },
    subject: {
      ...text,
      description:
        'Who signed: an e-mail address or URI, exactly or by pattern. * is any characters but "/", at the end any at all; ** is any characters.',
    },
    claims: {
      type: 'object',
      minProperties: 1,
      additionalProperties: false,
      description: 'What else the certificate must say, each exactly or by pattern, by the names of Fulcio.',
      properties: Object.fromEntries(claimNames.map((name) => [name, text])),
    },
    root,
    log: count('In how many transparency logs it must be entered; 1 unless told.'),
    timestamp: count('How many time stamp authorities must have seen it; none unless told.'),
    certificateLog: count('In how many certificate logs its certificate must be entered; 1 unless told.'),
    ...constraintProperties,
  },
} as const;

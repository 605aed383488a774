import type { ConfigSchema } from './config-schema.ts';

/** The key `enforcement` of `config.yaml`: the planted pair, and the findings that do not count. */
export const enforcementSchema: ConfigSchema = {
  type: 'object',
  description: 'How this node proves that its policy refuses what it should: see docs/enforcement.md.',
  additionalProperties: false,
  properties: {
    admitted: {
      type: 'string',
      maxLength: 1024,
      description: 'Reference of a planted image that is signed as the policy demands. Empty: no pair is planted.',
      default: '',
    },
    refused: {
      type: 'string',
      maxLength: 1024,
      description: 'Reference of a planted image that a rule with a demand matches and that nobody has signed.',
      default: '',
    },
    namespace: { type: 'string', maxLength: 253, description: 'The namespace in which both are tried.', default: '' },
    interval: {
      type: 'integer',
      minimum: 60,
      maximum: 86_400,
      description: 'Seconds between two tries of the pair; it is also tried at the start and at each reload of the policy.',
      default: 3_600,
    },
    accept: {
      type: 'array',
      description: 'Codes of findings that do not count on this node; they are listed all the same.',
      items: { type: 'string', pattern: '^[A-Z_]{3,64}$' },
      uniqueItems: true,
      default: [],
    },
  },
};

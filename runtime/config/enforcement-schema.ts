import type { ConfigSchema } from './config-schema.ts';

/** The key `enforcement` of `config.yaml`: the planted pair, and the findings that do not count. */
export const enforcementSchema: ConfigSchema = {
  type: 'object',
  description:
    'Checks by which this node proves that its policy refuses the images that it should refuse. See docs/enforcement.md.',
  additionalProperties: false,
  properties: {
    admitted: {
      type: 'string',
      maxLength: 1024,
      description:
        'Reference of a planted image that is signed as the policy requires. If empty, no pair of images is planted.',
      default: '',
    },
    refused: {
      type: 'string',
      maxLength: 1024,
      description:
        'Reference of a planted image that is not signed, and that a rule with a requirement matches.',
      default: '',
    },
    namespace: {
      type: 'string',
      maxLength: 253,
      description: 'Namespace for the tests of both planted images.',
      default: '',
    },
    interval: {
      type: 'integer',
      minimum: 60,
      maximum: 86_400,
      description:
        'Seconds between two tests of the pair. The pair is also tested at the start and at each reload of the policy.',
      default: 3_600,
    },
    accept: {
      type: 'array',
      description: 'Codes of findings that are accepted on this node. They are listed, but do not count.',
      items: { type: 'string', pattern: '^[A-Z_]{3,64}$' },
      uniqueItems: true,
      default: [],
    },
  },
};

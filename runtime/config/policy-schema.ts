import type { ConfigSchema } from './config-schema.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;
const label = '^[A-Za-z0-9]([A-Za-z0-9._/-]{0,252}[A-Za-z0-9])?$';

/** The key `policySubscription` of `config.yaml`. It exists only when it is written. */
export const policySubscriptionSchema: ConfigSchema = {
  type: 'object',
  description:
    'Signed releases of a policy that this node follows, instead of the files of `policy`. `portcullis policy subscribe` writes this section. See docs/policy-delivery.md.',
  additionalProperties: false,
  required: ['service', 'root'],
  properties: {
    service: {
      type: 'string',
      pattern: '^(https?|oci)://[^\\s?#]+$',
      maxLength: 2048,
      description:
        'Address of the signed metadata: `oci://REGISTRY/REPOSITORY`, or the URL of the folder that a web server or a trust service serves.',
    },
    root: {
      ...path,
      description:
        'File with the first root of the collection. Obtain it by another way than from the service.',
    },
    releases: {
      type: 'string',
      pattern: '^(https?|oci)://[^\\s?#]+$',
      maxLength: 2048,
      description: 'Address of the archives. If omitted, the archives are at the address of the metadata.',
    },
    channel: {
      type: 'string',
      // The form of trust/policy-release, which is not loaded at the start.
      pattern: '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$',
      description: 'Channel whose releases the node follows.',
      default: 'stable',
    },
    interval: {
      type: 'integer',
      minimum: 1,
      maximum: 86_400,
      description:
        'Seconds between two requests to the service. The time varies by a fifth, and grows while the service does not answer.',
      default: 300,
    },
    node: {
      type: 'string',
      maxLength: 253,
      description:
        'Name of the node, by which a stage with a percentage selects it. If empty, the name of the machine.',
      default: '',
    },
    labels: {
      type: 'object',
      description: 'Labels of the node, by which stages select it.',
      maxProperties: 64,
      propertyNames: { pattern: label },
      additionalProperties: { type: 'string', maxLength: 253 },
      default: {},
    },
    onStale: {
      type: 'string',
      enum: ['deny', 'keep', 'previouslyAdmitted'],
      description:
        'The behavior when the metadata have expired and newer metadata cannot be fetched. `deny`: the node denies everything new. `keep`: the last release stays in force. `previouslyAdmitted`: the last release decides about images that are on the node already, for the time `previouslyAdmittedFor`; nothing else is pulled.',
      default: 'deny',
    },
    previouslyAdmittedFor: {
      type: 'string',
      pattern: '^[1-9][0-9]{0,8}(s|m|h|d|w)$',
      description: 'Time for `onStale: previouslyAdmitted`, such as `72h`.',
      default: '72h',
    },
  },
};

import { CATALOG } from '../catalog/catalog.ts';

export const PROFILE_KIND = 'EntitlementProfile';

/** Where editors find the schema of a profile document. */
const schemaId = 'https://portcullis.dev/schemas/v1alpha1/entitlement-profile.json';

const names = (description: string) => ({
  type: 'array',
  maxItems: 1000,
  items: { type: 'string', minLength: 1, maxLength: 128 },
  description,
});
const planned = (what: string) => ({ description: `${what} Not supported by this version: a profile that uses it is refused.` });
const count = (description: string) => ({ type: 'integer', minimum: 0, maximum: 4294967295, description });
const size = (description: string) => ({
  anyOf: [
    { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    { type: 'string', pattern: '^[0-9]{1,12}(Ki|Mi|Gi)?$', description: 'write bytes, or a number with Ki, Mi or Gi' },
  ],
  description,
});

/** JSON Schema (draft 2020-12) of a `kind: EntitlementProfile` document, for editors and for `loadProfiles`. */
export const profileSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: schemaId,
  title: 'Portcullis EntitlementProfile',
  description:
    'What a workload may do: the default profile changed by entitlements, then by capabilities and syscalls. A pod names it in the annotation portcullis.dev/profile; a policy rule names it as ceiling.',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'metadata'],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: 'portcullis.dev/v1alpha1' },
    kind: { const: PROFILE_KIND },
    metadata: {
      type: 'object',
      additionalProperties: false,
      required: ['name'],
      properties: {
        name: {
          type: 'string',
          pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$',
          description: 'write 1 to 63 lower-case letters, digits, dots and dashes',
        },
      },
    },
    entitlements: {
      type: 'array',
      maxItems: 100,
      items: { anyOf: [{ enum: [...CATALOG.keys()] }, { type: 'string', pattern: '^api\\.access=' }] },
      description: 'Names of the catalog. Their order does not matter.',
    },
    files: planned('Files that may be read and written.'),
    network: planned('Where connections may go and come from.'),
    syscalls: {
      type: 'object',
      additionalProperties: false,
      properties: { add: names('System calls to allow whatever their arguments.'), drop: names('System calls to deny.') },
      description: 'Counts after the entitlements.',
    },
    capabilities: {
      type: 'object',
      additionalProperties: false,
      properties: { add: names('Capabilities to grant.'), drop: names('Capabilities to take away; ALL: every one that is not under add.') },
      description: 'Counts after the entitlements.',
    },
    resources: {
      type: 'object',
      additionalProperties: false,
      properties: {
        memlock: size('Memory that may be locked.'),
        core: size('Size of a core dump.'),
        nofile: count('Open files.'),
        nproc: count('Processes of the user.'),
      },
      description: 'Resource limits (setrlimit(2)), soft and hard.',
    },
  },
} as const;

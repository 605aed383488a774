import type { JsonSchema } from '../../base/schema/index.ts';

/**
 * The sources of a policy, which a node sends once the policy is in force. The aggregator computes the
 * revision from them again, so that no node can send another text under the revision of a policy.
 */
export interface PolicyText {
  readonly revision: string;
  readonly files: readonly { readonly name: string; readonly text: string }[];
  readonly keys: readonly { readonly name: string; readonly digest: string }[];
}

/** The maximum number of characters of a policy as JSON. A node does not send a longer policy. */
export const mostPolicyLength = 512 * 1024;

const name = { type: 'string', maxLength: 255 } as const;
const closed = (properties: Readonly<Record<string, unknown>>): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
  required: Object.keys(properties),
});

/**
 * The JSON Schema of {@link PolicyText}. It allows no other fields, so that each policy has exactly one form.
 */
export const policyTextSchema: JsonSchema = closed({
  revision: { type: 'string', pattern: '^sha256:[0-9a-f]{64}$' },
  files: {
    type: 'array',
    maxItems: 1000,
    items: closed({ name, text: { type: 'string', maxLength: mostPolicyLength } }),
  },
  keys: {
    type: 'array',
    maxItems: 1000,
    items: closed({ name, digest: { type: 'string', maxLength: 128 } }),
  },
});

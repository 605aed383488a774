import type { JsonSchema } from '../../../base/schema/index.ts';
import type { AdjustedHook } from '../adjusted.ts';

/** The changes to a container (CDI specification 1.1.0, "OCI Edits"). */
export interface ContainerEdits {
  readonly env?: readonly string[];
  readonly deviceNodes?: readonly CdiDeviceNode[];
  readonly netDevices?: readonly { readonly hostInterfaceName: string; readonly name: string }[];
  readonly hooks?: readonly AdjustedHook[];
  readonly mounts?: readonly CdiMount[];
  readonly intelRdt?: Readonly<Record<string, unknown>>;
  readonly additionalGids?: readonly number[];
}

export interface CdiDeviceNode {
  readonly path: string;
  readonly hostPath?: string;
  readonly type?: 'b' | 'c' | 'u' | 'p';
  readonly major?: number;
  readonly minor?: number;
  readonly fileMode?: number;
  readonly permissions?: string;
  readonly uid?: number;
  readonly gid?: number;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly type?: string;
  readonly options?: readonly string[];
}

export interface CdiSpec {
  readonly cdiVersion: string;
  readonly kind: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly devices: readonly {
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly containerEdits: ContainerEdits;
  }[];
  readonly containerEdits?: ContainerEdits;
}

const absolute = { type: 'string', pattern: '^/[^\\u0000]*$', maxLength: 4096 } as const;
const text = { type: 'string', maxLength: 32_768, pattern: '^[^\\u0000]*$' } as const;
const texts = { type: 'array', maxItems: 4096, items: text } as const;
const variables = {
  type: 'array',
  maxItems: 4096,
  items: { ...text, pattern: '^[^=\\u0000\\n]+=[^\\u0000]*$' },
} as const;
const id = { type: 'integer', minimum: 0, maximum: 4_294_967_295 } as const;
const annotations = { type: 'object', maxProperties: 1000, additionalProperties: text } as const;

function record(required: readonly string[], properties: Readonly<Record<string, JsonSchema>>): JsonSchema {
  return { type: 'object', additionalProperties: false, required: [...required], properties };
}

const edits = record([], {
  env: variables,
  deviceNodes: {
    type: 'array',
    maxItems: 4096,
    items: record(['path'], {
      path: absolute,
      hostPath: absolute,
      type: { enum: ['b', 'c', 'u', 'p'] },
      major: { type: 'integer', minimum: 0, maximum: 4095 },
      minor: { type: 'integer', minimum: 0, maximum: 1_048_575 },
      fileMode: { type: 'integer', minimum: 0, maximum: 0o7777 },
      permissions: { type: 'string', pattern: '^([rwm]{0,3}|none)$' },
      uid: id,
      gid: id,
    }),
  },
  netDevices: {
    type: 'array',
    maxItems: 64,
    items: record(['hostInterfaceName', 'name'], { hostInterfaceName: text, name: text }),
  },
  hooks: {
    type: 'array',
    maxItems: 256,
    items: record(['hookName', 'path'], {
      hookName: {
        enum: ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'],
      },
      path: absolute,
      args: texts,
      env: variables,
      timeout: { type: 'integer', minimum: 1, maximum: 86_400 },
    }),
  },
  mounts: {
    type: 'array',
    maxItems: 4096,
    items: record(['hostPath', 'containerPath'], {
      hostPath: text,
      containerPath: absolute,
      type: { type: 'string', maxLength: 64 },
      options: { type: 'array', maxItems: 64, items: { type: 'string', minLength: 1, maxLength: 4096 } },
    }),
  },
  intelRdt: record([], {
    closID: { type: 'string', maxLength: 255, pattern: '^[^/\\n\\u0000]*$' },
    l3CacheSchema: text,
    memBwSchema: text,
    schemata: texts,
    enableMonitoring: { type: 'boolean' },
  }),
  additionalGids: { type: 'array', maxItems: 1024, items: id },
});

/**
 * JSON Schema of one spec file. Unknown fields fail, as the specification says ("spec loading fails on
 * unknown fields").
 */
export const cdiSchema = record(['cdiVersion', 'kind', 'devices'], {
  cdiVersion: { type: 'string', pattern: '^v?(0\\.[3-8]\\.0|1\\.[01]\\.[0-9])$' },
  kind: { type: 'string', maxLength: 320 },
  annotations,
  devices: {
    type: 'array',
    minItems: 1,
    maxItems: 4096,
    items: record(['name', 'containerEdits'], {
      name: { type: 'string', maxLength: 253 },
      annotations,
      containerEdits: edits,
    }),
  },
  containerEdits: edits,
});

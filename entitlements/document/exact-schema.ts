import { LIMIT_NAMES, RESOURCE_NAMES } from '../profile/sets.ts';
import { metadataSchema } from './metadata-schema.ts';

export const EXACT_KIND = 'ExactProfile';

const texts = (description: string) =>
  ({ type: 'array', maxItems: 20_000, items: { type: 'string', maxLength: 4096 }, description }) as const;
const flag = (description: string) => ({ type: 'boolean', description }) as const;
const amount = {
  anyOf: [
    { type: 'integer', minimum: 0 },
    { type: 'string', pattern: '^[0-9]{1,20}$', description: 'write a number' },
  ],
} as const;
const access = { type: 'array', minItems: 1, items: { enum: ['execute', 'read', 'write'] } } as const;
const fileRules = {
  type: 'array',
  maxItems: 4096,
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['pattern', 'access'],
    properties: { pattern: { type: 'string', maxLength: 4096 }, access },
  },
} as const;
const peers = (description: string) =>
  ({
    type: 'array',
    maxItems: 20_000,
    items: {
      type: 'object',
      additionalProperties: false,
      required: ['cidr', 'protocol', 'ports'],
      properties: {
        cidr: { type: 'string', maxLength: 64 },
        protocol: { enum: ['icmp', 'sctp', 'tcp', 'udp'] },
        ports: {
          type: 'string',
          pattern: '^[0-9]{1,5}-[0-9]{1,5}$',
          description: 'write two ports with a dash',
        },
      },
    },
    description,
  }) as const;

/**
 * JSON Schema (draft 2020-12) of a `kind: ExactProfile` document: it states every dimension completely and
 * inherits nothing.
 */
export const exactProfileSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://portcullis.dev/schemas/v1alpha1/exact-profile.json',
  title: 'Portcullis ExactProfile',
  description:
    'A profile as `merge` and `import` compute it. It states every dimension completely and inherits nothing. You can use it wherever an EntitlementProfile is accepted, except as a parent in extends and as the signed entitlements of an image.',
  type: 'object',
  additionalProperties: false,
  required: [
    ...[
      'apiVersion',
      'kind',
      'metadata',
      'capabilities',
      'ambient',
      'syscalls',
      'noNewPrivileges',
      'paths',
      'devices',
      'hostDevices',
    ],
    ...[
      'hostPaths',
      'hostNamespaces',
      'ownNamespaces',
      'readonlyVolumes',
      'nonRoot',
      'network',
      'limits',
      'resources',
      'sysctls',
    ],
    ...['writableSys', 'readonlyRootfs', 'apparmor'],
  ],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: 'portcullis.dev/v1alpha1' },
    kind: { const: EXACT_KIND },
    metadata: metadataSchema({}),
    capabilities: texts('Capabilities of the bounding set.'),
    ambient: texts('Capabilities that survive an exec by a user other than root.'),
    syscalls: {
      anyOf: [
        { const: 'unfiltered' },
        {
          type: 'object',
          additionalProperties: false,
          required: ['otherwise'],
          properties: {
            otherwise: {
              type: 'string',
              description:
                'Answer to system calls without a rule: allow, log, errno and a number such as errno 1, trap, kill-thread or kill-process.',
            },
            architectures: {
              type: 'array',
              items: { enum: ['arm', 'x32', 'x86'] },
              description: 'Architectures whose programs run in addition to native ones.',
            },
            answers: {
              type: 'object',
              maxProperties: 100,
              additionalProperties: texts('System calls that get this answer for all arguments.'),
            },
            conditional: {
              type: 'object',
              maxProperties: 2000,
              additionalProperties: texts(
                'Rules on arguments, such as allow if arg0 in 0..37 and arg1 & 0xf = 0x1. The last item is the answer in all other cases, such as errno 1.',
              ),
            },
          },
        },
      ],
    },
    noNewPrivileges: flag('Whether set-user-id programs and file capabilities have no effect.'),
    paths: {
      type: 'object',
      additionalProperties: false,
      required: ['masked', 'readonly'],
      properties: {
        masked: texts('Paths that appear empty in the container.'),
        readonly: texts('Paths that are read-only in the container.'),
      },
    },
    devices: texts('Allowed devices, such as c 1:3 rwm. * means any number.'),
    hostDevices: flag('Whether all devices of the host appear in the container.'),
    hostPaths: flag('Whether paths of the host may be mounted as volumes.'),
    hostPorts: flag('Whether ports of the host may lead to the pod. Default: false.'),
    hostNamespaces: { type: 'array', items: { enum: ['ipc', 'network', 'pid'] } },
    ownNamespaces: { type: 'array', items: { enum: ['cgroup', 'time', 'user'] } },
    readonlyVolumes: flag('Whether volumes are read-only.'),
    nonRoot: flag('Whether no process may start as user 0 of the host.'),
    network: { enum: ['none', 'user', 'proxy', 'admin', 'host'] },
    egress: peers('Peers that the container may reach. If omitted, all peers.'),
    ingress: peers('Peers that may reach the container. If omitted, all peers.'),
    files: {
      type: 'array',
      maxItems: 64,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['allow', 'deny'],
        properties: { allow: fileRules, deny: fileRules },
      },
      description:
        'Rules on files. An access is granted if one member of the list grants it. If omitted, files are not restricted.',
    },
    mounts: {
      type: 'array',
      maxItems: 4096,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['fstype', 'target', 'readonly'],
        properties: {
          fstype: { type: 'string', maxLength: 255 },
          target: { type: 'string', maxLength: 4096 },
          readonly: { type: 'boolean' },
        },
      },
    },
    limits: {
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(
        LIMIT_NAMES.map((name) => [
          name,
          {
            type: 'object',
            additionalProperties: false,
            required: ['soft', 'hard'],
            properties: { soft: amount, hard: amount },
          },
        ]),
      ),
    },
    resources: {
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(RESOURCE_NAMES.map((name) => [name, amount])),
    },
    sysctls: { enum: ['safe', 'any'] },
    writableSys: flag('Whether /sys may be written.'),
    writableCgroups: flag(
      'Whether cgroups may be created below its own. Default: the value of writableSys. With writableSys, it is always true.',
    ),
    readonlyRootfs: flag('Whether the root file system is read-only.'),
    apparmor: { enum: ['default', 'unconfined'] },
  },
} as const;

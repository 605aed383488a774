import { LIMIT_NAMES, RESOURCE_NAMES } from '../compare/sets.ts';

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
        ports: { type: 'string', pattern: '^[0-9]{1,5}-[0-9]{1,5}$', description: 'write two ports with a dash' },
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
    'A profile as merge and import compute it: every dimension complete, nothing inherited. It may be used wherever an EntitlementProfile may.',
  type: 'object',
  additionalProperties: false,
  required: [
    ...['apiVersion', 'kind', 'metadata', 'capabilities', 'ambient', 'syscalls', 'noNewPrivileges', 'paths', 'devices', 'hostDevices'],
    ...['hostPaths', 'hostNamespaces', 'ownNamespaces', 'readonlyVolumes', 'nonRoot', 'network', 'limits', 'resources', 'sysctls'],
    ...['writableSys', 'readonlyRootfs', 'apparmor'],
  ],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: 'portcullis.dev/v1alpha1' },
    kind: { const: EXACT_KIND },
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
        description: { type: 'string', maxLength: 4096 },
      },
    },
    capabilities: texts('The bounding set.'),
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
              description: 'The answer to calls without a rule: allow, log, errno 1, trap, kill-thread, kill-process.',
            },
            architectures: {
              type: 'array',
              items: { enum: ['arm', 'x32', 'x86'] },
              description: 'Architectures whose programs run in addition to native ones.',
            },
            answers: {
              type: 'object',
              maxProperties: 100,
              additionalProperties: texts('Calls that get this answer for all arguments.'),
            },
            conditional: {
              type: 'object',
              maxProperties: 2000,
              additionalProperties: texts(
                'Such as: allow if arg0 in 0..37 and arg1 & 0xf = 0x1; the last item is the answer to the rest: errno 1.',
              ),
            },
          },
        },
      ],
    },
    noNewPrivileges: flag('Set-user-id programs and file capabilities have no effect.'),
    paths: {
      type: 'object',
      additionalProperties: false,
      required: ['masked', 'readonly'],
      properties: { masked: texts('Empty.'), readonly: texts('Not writable.') },
    },
    devices: texts('Such as c 1:3 rwm; * for any number.'),
    hostDevices: flag('All devices of the host appear.'),
    hostPaths: flag('Paths of the host may be mounted as volumes.'),
    hostPorts: flag('Ports of the host may lead to the pod. Without it they do not.'),
    hostNamespaces: { type: 'array', items: { enum: ['ipc', 'network', 'pid'] } },
    ownNamespaces: { type: 'array', items: { enum: ['cgroup', 'time', 'user'] } },
    readonlyVolumes: flag('Volumes are read-only.'),
    nonRoot: flag('No process starts as user 0 of the host.'),
    network: { enum: ['none', 'user', 'proxy', 'admin', 'host'] },
    egress: peers('Peers that it may reach. If omitted: all.'),
    ingress: peers('Peers that may reach it. If omitted: all.'),
    files: {
      type: 'array',
      maxItems: 64,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['allow', 'deny'],
        properties: { allow: fileRules, deny: fileRules },
      },
      description: 'An access is granted if one member grants it. If omitted: not restricted.',
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
          { type: 'object', additionalProperties: false, required: ['soft', 'hard'], properties: { soft: amount, hard: amount } },
        ]),
      ),
    },
    resources: {
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(RESOURCE_NAMES.map((name) => [name, amount])),
    },
    sysctls: { enum: ['safe', 'any'] },
    writableSys: flag('/sys may be written.'),
    readonlyRootfs: flag('The root file system is read-only.'),
    apparmor: { enum: ['default', 'unconfined'] },
  },
} as const;

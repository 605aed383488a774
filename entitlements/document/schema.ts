import { LIMIT_BOUNDS, RESOURCE_BOUNDS } from '../catalog/resources.ts';
import { CATALOG } from '../catalog/catalog.ts';
import { metadataSchema } from './metadata-schema.ts';
import { PARAMETER_TYPES } from './parameters.ts';

export const PROFILE_KIND = 'EntitlementProfile';

/** The URL at which editors find the schema of a profile document. */
const schemaId = 'https://portcullis.dev/schemas/v1alpha1/entitlement-profile.json';

const PARAMETER_NAME = '^[A-Za-z][A-Za-z0-9_-]{0,62}$';

const text = { type: 'string', minLength: 1, maxLength: 512 } as const;
const texts = (description: string) => ({ type: 'array', maxItems: 1000, items: text, description }) as const;
const patterns = (description: string) =>
  ({
    type: 'array',
    maxItems: 1000,
    items: { type: 'string', minLength: 1, maxLength: 4096 },
    description,
  }) as const;
const object = <T extends object>(description: string, properties: T) =>
  ({ type: 'object', additionalProperties: false, properties, description }) as const;
const scalar = { anyOf: [{ type: 'integer' }, text] } as const;

const argumentValue = {
  anyOf: [
    { type: 'integer' },
    text,
    {
      type: 'object',
      additionalProperties: false,
      required: ['mask', 'value'],
      properties: {
        mask: { ...scalar, description: 'The bits that are compared.' },
        value: { ...scalar, description: 'The required value of these bits.' },
      },
      description: 'Numbers whose bits under the mask equal the value.',
    },
  ],
} as const;

/** A condition on one argument. */
const argument = {
  anyOf: [
    { type: 'integer' },
    text,
    {
      type: 'array',
      minItems: 1,
      maxItems: 500,
      items: { $ref: '#/$defs/value' },
      description: 'Any of these.',
    },
    argumentValue.anyOf[2],
    {
      type: 'object',
      additionalProperties: false,
      required: ['not'],
      properties: {
        not: {
          type: 'array',
          minItems: 1,
          maxItems: 500,
          items: { $ref: '#/$defs/value' },
          description: 'Values that the argument may not have.',
        },
      },
      description: 'None of these.',
    },
  ],
  description:
    'Values that the argument may have: a number, a constant of the kernel’s headers, or several of them joined by |; a range such as 3..99; a list of these; {mask, value}; {not: […]}.',
} as const;

const argumentNames = ['arg0', 'arg1', 'arg2', 'arg3', 'arg4', 'arg5'] as const;
const conditions = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: Object.fromEntries(argumentNames.map((name) => [name, { $ref: '#/$defs/argument' }])),
  description: 'Conditions on arguments. All of them must be met.',
} as const;

const calls = (description: string) =>
  ({
    type: 'array',
    maxItems: 1000,
    items: {
      anyOf: [
        text,
        {
          type: 'object',
          minProperties: 1,
          maxProperties: 1,
          additionalProperties: {
            anyOf: [
              { $ref: '#/$defs/conditions' },
              { type: 'array', minItems: 1, maxItems: 100, items: { $ref: '#/$defs/conditions' } },
            ],
          },
          description:
            'A system call with conditions on its arguments. In a list of conditions, one of them must be met.',
        },
      ],
    },
    description,
  }) as const;

const peers = (direction: 'to' | 'from', description: string) =>
  ({
    type: 'array',
    maxItems: 1000,
    items: object('A rule: peers, and their ports.', {
      [direction]: {
        anyOf: [text, texts('A list of addresses or CIDR blocks.')],
        description: 'Addresses or CIDR blocks of the peers. If omitted, any address.',
      },
      except: texts('Addresses or CIDR blocks to exclude.'),
      ports: {
        ...texts(
          'Ports and protocols, such as 5432/tcp, 8000-8080/tcp or icmp. If omitted, any port of any protocol.',
        ),
        items: { ...text, examples: ['8080/tcp', '8000-8080/tcp', 'icmp'] },
      },
    }),
    description,
  }) as const;

const accesses = {
  read: patterns('Files that may be read, and folders that may be listed.'),
  write: patterns('Paths that may be changed, created, removed, linked and locked.'),
  execute: patterns('Files that may be executed or mapped as code.'),
} as const;

const amount = { anyOf: [{ type: 'integer', minimum: 0 }, { type: 'number', minimum: 0 }, text] } as const;
const limit = (description: string) =>
  ({
    anyOf: [
      { type: 'integer', minimum: 0 },
      text,
      {
        type: 'object',
        additionalProperties: false,
        required: ['soft', 'hard'],
        properties: {
          soft: { ...amount, description: 'The limit at the start of the container.' },
          hard: { ...amount, description: 'The highest value to which the container may raise the limit.' },
        },
      },
    ],
    description,
  }) as const;

/** Returns the key of an rlimit under `resources`: `cpu` already belongs to the cgroup. */
export function limitKey(name: string): string {
  return name === 'CPU' ? 'cputime' : name.toLowerCase();
}

/**
 * JSON Schema (draft 2020-12) of a `kind: EntitlementProfile` document, for editors and for `loadProfiles`.
 */
export const profileSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: schemaId,
  title: 'Portcullis EntitlementProfile',
  description:
    'A profile: what a workload may do. It is the default profile, changed by the parents and entitlements, then by the other keys. A pod names a profile in the annotation portcullis.dev/profile; a policy rule names one as ceiling.',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'metadata'],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: 'portcullis.dev/v1alpha1' },
    kind: { const: PROFILE_KIND },
    metadata: metadataSchema({ description: 'Purpose of the profile, for people.' }),
    parameters: {
      type: 'object',
      maxProperties: 100,
      propertyNames: {
        pattern: PARAMETER_NAME,
        description: 'write a letter, then letters, digits, _ and -',
      },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['type'],
        properties: {
          type: { enum: [...PARAMETER_TYPES], description: 'Type of the values.' },
          default: {
            anyOf: [{ type: 'integer' }, { type: 'string', maxLength: 4096 }],
            description:
              'Value if none is set. Without a default, a profile that extends this one must set one.',
          },
          description: {
            type: 'string',
            maxLength: 4096,
            description: 'Meaning of the parameter, for people.',
          },
        },
      },
      description:
        'Parameters that a profile which extends this one may set. Write ${name} in any text below to insert the value of a parameter.',
    },
    extends: {
      type: 'array',
      maxItems: 100,
      items: {
        anyOf: [
          { type: 'string', minLength: 1, maxLength: 63 },
          {
            type: 'object',
            additionalProperties: false,
            required: ['profile'],
            properties: {
              profile: { type: 'string', minLength: 1, maxLength: 63, description: 'Name of the parent.' },
              with: {
                description: 'Values of the parameters of the parent.',
                type: 'object',
                maxProperties: 100,
                additionalProperties: { anyOf: [{ type: 'integer' }, { type: 'string', maxLength: 4096 }] },
              },
            },
          },
        ],
      },
      description:
        'Parents of this profile. It inherits everything that they grant and exclude. Their order does not matter.',
    },
    entitlements: {
      type: 'array',
      maxItems: 100,
      items: {
        anyOf: [
          {
            enum: [...CATALOG.values()]
              .filter(({ argument: takes }) => takes === undefined)
              .map(({ name }) => name),
          },
          { type: 'string', pattern: '^[a-z0-9.-]+=|\\$\\{' },
        ],
      },
      description: 'Entitlements of the catalog, by name. Their order does not matter.',
    },
    files: object(
      'Files that may be used, for each type of access. A type that is omitted is not restricted.',
      {
        ...accesses,
        deny: object(
          'Files that may not be used. These lists take precedence over the lists that allow.',
          accesses,
        ),
      },
    ),
    network: object(
      'Peers that the container may reach, and peers that may reach it. A direction that is omitted is not restricted within the network class.',
      {
        egress: peers('to', 'Peers that the container may connect or send to.'),
        ingress: peers('from', 'Peers that may connect or send to the container.'),
      },
    ),
    syscalls: object(
      'Changes to the allowed system calls. They are applied after parents and entitlements, and drop before add.',
      {
        add: calls('System calls to allow.'),
        drop: calls('System calls to deny. ALL means every system call that is not under add.'),
        architectures: {
          type: 'array',
          items: { enum: ['arm', 'x32', 'x86'] },
          description: 'Architectures whose programs run in addition to native ones.',
        },
      },
    ),
    capabilities: object('Changes to the capabilities. They are applied after parents and entitlements.', {
      add: texts('Capabilities to grant, and the system calls that they enable.'),
      drop: texts('Capabilities to remove. ALL means every capability that is not under add.'),
      ambient: texts(
        'Capabilities that a pod may request as ambient, so that they survive an exec by a user other than root. ALL means all capabilities that the profile grants.',
      ),
    }),
    devices: object('Changes to the allowed devices. They are applied after parents and entitlements.', {
      add: texts('Devices to allow, such as c 10:232 rw. * means any number.'),
      drop: texts('Devices to remove.'),
    }),
    mounts: {
      type: 'array',
      maxItems: 1000,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['target'],
        properties: {
          fstype: {
            ...text,
            description: 'A file system type. * means any type, including bind mounts. Default: *.',
          },
          target: {
            type: 'string',
            minLength: 1,
            maxLength: 4096,
            description: 'A pattern of the paths at which the file system may be mounted.',
          },
          readonly: {
            type: 'boolean',
            description: 'Whether only read-only mounts are allowed. Default: false.',
          },
        },
      },
      description:
        'Mounts that processes of the container may create, and no others. If omitted, mounts are not restricted.',
    },
    paths: object('Restrictions in addition to those of parents, entitlements and the default profile.', {
      masked: patterns('Paths that appear empty in the container.'),
      readonly: patterns('Paths that are read-only in the container.'),
    }),
    namespaces: object('Namespaces that a container usually shares with the host.', {
      own: {
        type: 'array',
        items: { enum: ['cgroup', 'time', 'user'] },
        description: 'Namespaces that the container must not share with the host.',
      },
    }),
    resources: object(
      'Limits that replace those of parents and entitlements. The value unlimited means no limit.',
      {
        ...Object.fromEntries(
          Object.entries(RESOURCE_BOUNDS).map(([name, { title }]) => [
            name,
            { ...amount, description: `${title}.` },
          ]),
        ),
        ...Object.fromEntries(
          Object.entries(LIMIT_BOUNDS).map(([name, { title }]) => [
            limitKey(name),
            limit(`${title} (setrlimit(2)).`),
          ]),
        ),
      },
    ),
  },
  $defs: { value: argumentValue, argument, conditions },
} as const;

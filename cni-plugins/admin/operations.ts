import type { JsonSchema } from '../../base/schema/index.ts';
import { adminVersion } from './operation-types.ts';
import type { AdminOperation } from './operation-types.ts';

export interface OperationDescription {
  /** One sentence for the reference. */
  readonly summary: string;
  /** The JSON Schema of the request, which is always an object without further fields. */
  readonly request: JsonSchema;
}

const text = (description: string): JsonSchema => ({ type: 'string', minLength: 1, description });
const texts = (description: string): JsonSchema => ({
  type: 'array',
  items: { type: 'string' },
  description,
});
const fields = (
  properties: Readonly<Record<string, JsonSchema>>,
  optional: readonly string[] = [],
): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  properties,
});
const noFields = fields({});

const portNumber: JsonSchema = { type: 'integer', minimum: 1, maximum: 65_535 };
const textList: JsonSchema = { type: 'array', items: { type: 'string' } };
const seconds: JsonSchema = { type: 'integer', minimum: 1, maximum: 864_000_000_000 };
const count: JsonSchema = { type: 'integer', minimum: 1, maximum: 100 };
const checkOf = (
  kind: string,
  own: Readonly<Record<string, JsonSchema>>,
  optional: readonly string[] = [],
): JsonSchema =>
  fields(
    {
      kind: { enum: [kind] },
      port: { type: 'string' },
      intervalSeconds: seconds,
      timeoutSeconds: seconds,
      failures: count,
      successes: count,
      ...own,
    },
    ['port', ...optional],
  );

/**
 * A complete service, as `readServices` returns it. The services thread stores the service and checks only
 * properties that this schema cannot express, such as the form of an address. An unknown field is refused: it
 * may restrict who reaches the service.
 */
const service: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  required: [
    'name',
    'addresses',
    'externalAddresses',
    'ports',
    'scheduler',
    'clientAffinity',
    'forwarding',
    'sourceAddress',
    'drainGraceSeconds',
    'backends',
  ],
  properties: {
    name: { type: 'string', minLength: 1 },
    addresses: { type: 'array', maxItems: 48, items: { type: 'string' } },
    externalAddresses: { type: 'array', maxItems: 48, items: { type: 'string' } },
    loadBalancerAddresses: { type: 'array', maxItems: 48, items: { type: 'string' } },
    loadBalancerSourceRanges: { type: 'array', items: { type: 'string' } },
    ports: {
      type: 'array',
      maxItems: 64,
      items: fields(
        {
          name: { type: 'string' },
          protocol: { enum: ['tcp', 'udp', 'sctp'] },
          port: portNumber,
          targetPort: portNumber,
          nodePort: portNumber,
        },
        ['nodePort'],
      ),
    },
    scheduler: { enum: ['rr', 'wrr', 'lc', 'sh', 'maglev'] },
    persistenceSeconds: seconds,
    createdAt: { type: 'number' },
    healthCheck: {
      anyOf: [
        checkOf('tcp', {}),
        checkOf(
          'http',
          {
            path: { type: 'string', pattern: '^/[!-~]*$' },
            host: { type: 'string', pattern: '^[A-Za-z0-9.:\\[\\]-]+$' },
            status: { type: 'array', items: { type: 'integer' } },
          },
          ['host'],
        ),
        checkOf('exec', {
          command: { type: 'array', minItems: 1, items: { type: 'string', pattern: '^[^\\u0000]+$' } },
        }),
      ],
    },
    clientAffinity: { type: 'boolean' },
    forwarding: { enum: ['nat', 'dsr'] },
    sourceAddress: { enum: ['keep', 'masquerade'] },
    drainGraceSeconds: { type: 'number', minimum: 0 },
    backends: {
      type: 'array',
      items: fields(
        {
          address: { type: 'string' },
          ports: { type: 'object', additionalProperties: portNumber },
          without: textList,
          quiescentPorts: textList,
          weight: { type: 'integer', minimum: 0, maximum: 65_535 },
          draining: { type: 'boolean' },
        },
        ['ports', 'without', 'quiescentPorts', 'weight', 'draining'],
      ),
    },
  },
};

export const adminOperations: Readonly<Record<AdminOperation, OperationDescription>> = {
  'images/import': {
    summary:
      'Pulls an image from an OCI layout on this machine, with the decision and the checks of a pull from its registry.',
    request: fields({
      folder: text('absolute path of the layout, as the daemon sees it'),
      digest: text("digest of the image's index or manifest in the layout"),
      reference: text('the name to store the image under; the policy decides for this name'),
      namespace: text('namespace to decide for'),
    }),
  },
  'images/pulls': {
    summary: 'Returns the progress of each pull and each import whose manifest is known.',
    request: noFields,
  },
  'images/prune': {
    summary:
      'Removes the images that no container uses and that have lost their names, because a tag was moved to another image.',
    request: fields(
      {
        all: { type: 'boolean', description: 'also removes unused images that have names' },
        dryRun: { type: 'boolean', description: 'removes nothing' },
      },
      ['all', 'dryRun'],
    ),
  },
  'images/layers': {
    summary: 'Lists the layers of an image, or of all images.',
    request: fields({ image: text('name, digest or id of the image, or a prefix of one of them') }, [
      'image',
    ]),
  },
  'images/check-layer': {
    summary:
      'Compares a layer with its list of files, at low priority. A damaged layer is restored before it is used again.',
    request: fields({ layer: text('as `images/layers` lists it') }),
  },
  'images/repair-layer': {
    summary:
      'Restores a damaged layer from its blob, which is fetched again from a registry if it is damaged too.',
    request: fields({ layer: text('as `images/layers` lists it') }),
  },
  'links/alterations': {
    summary: "Lists the pods' ends of links whose addresses, routes or settings differ from the record.",
    request: noFields,
  },
  'links/denials': {
    summary: 'Returns how many packets the link class and the rules of each attachment denied.',
    request: noFields,
  },
  'links/explain': {
    summary:
      'Explains why a connection of a pod passes or does not pass. Without a connection: what was denied to the pod.',
    request: fields(
      {
        pod: text('NAMESPACE/NAME, NAME, or a prefix of the sandbox id'),
        connection: fields(
          {
            direction: { enum: ['egress', 'ingress'], description: '`egress`: the pod opens the connection' },
            peer: text('an address, or a pod of this node'),
            protocol: { enum: ['icmp', 'sctp', 'tcp', 'udp'] },
            port: {
              type: 'integer',
              minimum: 0,
              maximum: 65_535,
              description: 'destination port; for icmp, type * 256 + code',
            },
          },
          ['port'],
        ),
      },
      ['connection'],
    ),
  },
  'links/collect': {
    summary: 'Removes the attachments of pods that are gone, and restores lost links of the others.',
    request: fields(
      {
        altered: {
          type: 'boolean',
          description: 'also restores addresses, routes and settings that were changed inside pods',
        },
      },
      ['altered'],
    ),
  },
  'policy/status': {
    summary: "Returns the policy in force, and the state of the node's subscription to policy releases.",
    request: noFields,
  },
  'services/list': {
    summary:
      'Lists services in the order of their names, with the state of each backend. `next` is set if there are more.',
    request: fields(
      {
        names: texts('only these services'),
        after: { type: 'string', description: 'only services whose names come after this one' },
        most: { type: 'integer', minimum: 1, description: 'the maximum number of services to return' },
      },
      ['names', 'after', 'most'],
    ),
  },
  'services/apply': {
    summary: 'Applies services to the kernel. A service with a problem is refused; the others are applied.',
    request: fields({
      services: {
        type: 'array',
        items: service,
        description: 'complete services, as `readServices` returns them',
      },
    }),
  },
  'services/remove': {
    summary:
      'Removes services that were applied by a command. Their connections end within the grace period.',
    request: fields({ names: texts('names of services') }),
  },
  'services/drain': {
    summary: 'Stops or resumes new connections to backends of a service.',
    request: fields({
      name: text('name of the service'),
      addresses: texts('addresses of backends; empty: all of them'),
      is: { type: 'boolean', description: 'false ends an earlier drain' },
    }),
  },
  'services/switch': {
    summary: 'Changes the load balancer until the next start of the daemon.',
    request: fields({ balancer: { enum: ['auto', 'ipvs', 'nftables'] } }),
  },
  'overlay/status': { summary: 'Returns the state of the network that spans hosts.', request: noFields },
  'overlay/rotate-key': {
    summary: 'Makes the next WireGuard key of this host its current key.',
    request: noFields,
  },
  'overlay/leave': {
    summary:
      'Removes everything of the network that belongs to this host from etcd, from the kernel and from the disk.',
    request: noFields,
  },
  'overlay/apply-services': {
    summary: 'Publishes services to all hosts of the network. All of them are applied, or none.',
    request: fields({
      file: text('name of the file, for messages'),
      text: text('descriptions of services, as YAML or JSON'),
    }),
  },
  'overlay/remove-services': {
    summary: 'Removes services that this host published.',
    request: fields({ names: texts('names of services') }),
  },
  'overlay/release-host': {
    summary: 'Removes from etcd the keys of a host that is permanently gone.',
    request: fields({ host: text('name of the host') }),
  },
};

/** Returns the path of an operation in a URL. */
export const pathOf = (operation: string): string => `/${adminVersion}/${operation}`;

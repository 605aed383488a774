import type { ConfigSchema } from './config-schema.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;
const port = { type: 'integer', minimum: 1, maximum: 65_535 } as const;

/** The key `network.overlay` of `config.yaml`. */
export const overlaySchema: ConfigSchema = {
  type: 'object',
  description:
    'A network that spans hosts: each has a subnet of it, and pods reach each other wherever they are. Without it none. It writes its network into `cni.confDir`.',
  additionalProperties: false,
  required: ['etcd', 'network', 'underlay'],
  properties: {
    name: {
      type: 'string',
      pattern: '^[a-z0-9][a-z0-9-]{0,31}$',
      description: 'Of the network; hosts that give the same name, in the same etcd, share it.',
      default: 'overlay',
    },
    host: {
      type: 'string',
      pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$',
      description: "This host's name in the network. Without it that of the machine.",
    },
    etcd: {
      type: 'object',
      description: 'Where the hosts find each other.',
      additionalProperties: false,
      required: ['endpoints'],
      properties: {
        endpoints: {
          type: 'array',
          items: { type: 'string', pattern: '^https?://[^/?#@]+/?$', maxLength: 512 },
          minItems: 1,
          maxItems: 32,
          description: 'URLs of members, as in `https://192.0.2.10:2379`. Another one is asked when one does not answer.',
        },
        ca: { ...path, description: "File of the authorities (PEM) that speak for etcd's certificates. Without it those of the system." },
        cert: { ...path, description: "File of this host's certificate (PEM), where etcd asks for one." },
        key: { ...path, description: 'File of its key (PEM).' },
      },
    },
    network: { type: 'string', maxLength: 49, description: 'Of all hosts together, as in `10.128.0.0/14`.' },
    hostPrefix: { type: 'integer', minimum: 2, maximum: 126, description: 'Length of the prefix that each host gets of it.', default: 24 },
    network6: { type: 'string', maxLength: 49, description: 'The other family, for pods with both, as in `fd00:10:128::/48`.' },
    hostPrefix6: { type: 'integer', minimum: 2, maximum: 126, description: 'Length of the prefix that each host gets of it.', default: 64 },
    underlay: {
      type: 'string',
      minLength: 1,
      maxLength: 45,
      description: 'A link of this host, or one of its addresses: what other hosts send to.',
    },
    vni: { type: 'integer', minimum: 1, maximum: 0xffffff, description: 'Number of the VXLAN, the same on every host.', default: 1 },
    vxlanPort: { ...port, description: 'UDP port of VXLAN, the same on every host.', default: 4789 },
    encryption: {
      type: 'string',
      enum: ['wireguard', 'none'],
      description:
        'What goes between hosts: `wireguard` encrypts all of it, and sends nothing to a host that does not, and takes nothing from it.',
      default: 'none',
    },
    wireguardPort: { ...port, description: 'UDP port of WireGuard on this host. The other hosts learn it from etcd.', default: 51_820 },
    lease: {
      type: 'integer',
      minimum: 5,
      maximum: 3600,
      description: 'Seconds without a sign of life after which etcd forgets this host.',
      default: 60,
    },
    hold: {
      type: 'integer',
      minimum: 0,
      maximum: 86_400,
      description:
        'Seconds for which this host goes on sending to one that etcd forgot. Silence of etcd itself changes nothing, however long.',
      default: 600,
    },
    services: {
      type: 'object',
      description:
        'What services that pods join may have of this host: written into the network, and held against members on every host. Without it no port of the host.',
      additionalProperties: false,
      properties: {
        ingress: {
          type: 'object',
          additionalProperties: false,
          description: 'Ingress ports.',
          properties: {
            namespaces: {
              type: 'array',
              items: { type: 'string', minLength: 1, maxLength: 253 },
              maxItems: 1024,
              description: 'Of members; `*` stands for any characters.',
            },
            ports: {
              type: 'array',
              items: { type: 'string', pattern: '^\\d{1,5}(-\\d{1,5})?$' },
              maxItems: 1024,
              description: 'As in `30000-32767`.',
            },
            privilegedPorts: { type: 'boolean', description: 'Also ports below 1024.', default: false },
            heldPorts: { type: 'boolean', description: 'Also ports at which a program of the host has a socket.', default: false },
          },
        },
        sharedServices: {
          type: 'array',
          items: { type: 'string', minLength: 1, maxLength: 63 },
          maxItems: 1024,
          description: 'Services whose members may be of several namespaces; `*`: all.',
        },
        servicesPerNamespace: {
          type: 'integer',
          minimum: 0,
          maximum: 65_536,
          description: 'Services that one namespace may have at a time.',
          default: 64,
        },
      },
    },
    order: {
      type: 'string',
      pattern: '^[a-zA-Z0-9_.]{1,16}$',
      description: "The beginning of the network's file name in `cni.confDir`: files are read in order.",
      default: '10',
    },
  },
};

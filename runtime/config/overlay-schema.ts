import type { ConfigSchema } from './config-schema.ts';
import { fileOrderSchema } from './shared-fields.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;
const port = { type: 'integer', minimum: 1, maximum: 65_535 } as const;

/** The key `network.overlay` of `config.yaml`. */
export const overlaySchema: ConfigSchema = {
  type: 'object',
  description:
    'Network that spans hosts. Each host has a subnet of it, and pods reach each other on all hosts. The daemon writes the configuration of the network into `cni.confDir`. If omitted, there is no such network.',
  additionalProperties: false,
  required: ['etcd', 'network', 'underlay'],
  properties: {
    name: {
      type: 'string',
      pattern: '^[a-z0-9][a-z0-9-]{0,31}$',
      description: 'Name of the network. Hosts with the same name in the same etcd share one network.',
      default: 'overlay',
    },
    host: {
      type: 'string',
      pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$',
      description: 'Name of this host in the network. If omitted, the host name of the machine is used.',
    },
    etcd: {
      type: 'object',
      description: 'The etcd cluster through which the hosts find each other.',
      additionalProperties: false,
      required: ['endpoints'],
      properties: {
        endpoints: {
          type: 'array',
          items: { type: 'string', pattern: '^https?://[^/?#@]+/?$', maxLength: 512 },
          minItems: 1,
          maxItems: 32,
          description:
            'URLs of the members of the etcd cluster, such as `https://192.0.2.10:2379`. If a member does not answer, the next one is asked.',
        },
        ca: {
          ...path,
          description:
            'File of the certificate authorities (PEM) that are trusted for etcd’s certificates. If omitted, the authorities of the system are trusted.',
        },
        cert: { ...path, description: 'File of this host’s client certificate (PEM), if etcd requires one.' },
        key: { ...path, description: 'File of the private key (PEM) of the client certificate.' },
      },
    },
    network: {
      type: 'string',
      maxLength: 49,
      description: 'Prefix of the network of all hosts together, such as `10.128.0.0/14`.',
    },
    hostPrefix: {
      type: 'integer',
      minimum: 2,
      maximum: 126,
      description: 'Length of the prefix that each host gets from `network`.',
      default: 24,
    },
    network6: {
      type: 'string',
      maxLength: 49,
      description:
        'Prefix of the network in the other address family, for pods with both families, such as `fd00:10:128::/48`.',
    },
    hostPrefix6: {
      type: 'integer',
      minimum: 2,
      maximum: 126,
      description: 'Length of the prefix that each host gets from `network6`.',
      default: 64,
    },
    underlay: {
      type: 'string',
      minLength: 1,
      maxLength: 45,
      description:
        'Link of this host, or one of its addresses, to which other hosts send packets of the network.',
    },
    vni: {
      type: 'integer',
      minimum: 1,
      maximum: 0xffffff,
      description: 'VXLAN network identifier (VNI). It must be the same on every host.',
      default: 1,
    },
    vxlanPort: {
      ...port,
      description: 'UDP port of VXLAN. It must be the same on every host.',
      default: 4789,
    },
    encryption: {
      type: 'string',
      enum: ['wireguard', 'none'],
      description:
        'Encryption of the packets between hosts. `wireguard` encrypts all of them; this host then sends nothing to a host without encryption, and accepts no packets from it.',
      default: 'none',
    },
    wireguardPort: {
      ...port,
      description: 'UDP port of WireGuard on this host. The other hosts learn the port from etcd.',
      default: 51_820,
    },
    lease: {
      type: 'integer',
      minimum: 5,
      maximum: 3600,
      description:
        'Duration in seconds of this host’s lease in etcd. If the host does not renew the lease in this time, etcd removes its record.',
      default: 60,
    },
    hold: {
      type: 'integer',
      minimum: 0,
      maximum: 86_400,
      description:
        'Seconds for which this host continues to send to a host whose lease has ended. While etcd itself does not answer, nothing changes, however long that takes.',
      default: 600,
    },
    services: {
      type: 'object',
      description:
        'Limits for services that pods join. They are written into the configuration of the network, and this host checks the members of every host against them. If omitted, services get no port of the host.',
      additionalProperties: false,
      properties: {
        ingress: {
          type: 'object',
          additionalProperties: false,
          description: 'Ports of the host that may lead to services (ingress ports).',
          properties: {
            namespaces: {
              type: 'array',
              items: { type: 'string', minLength: 1, maxLength: 253 },
              maxItems: 1024,
              description: 'Namespaces whose members may have ingress ports. `*` matches any characters.',
            },
            ports: {
              type: 'array',
              items: { type: 'string', pattern: '^\\d{1,5}(-\\d{1,5})?$' },
              maxItems: 1024,
              description: 'Ports that members may have, such as `30000-32767`.',
            },
            privilegedPorts: {
              type: 'boolean',
              description: 'Whether ports below 1024 are also allowed.',
              default: false,
            },
            heldPorts: {
              type: 'boolean',
              description: 'Whether ports are also allowed at which a program of the host has a socket.',
              default: false,
            },
          },
        },
        sharedServices: {
          type: 'array',
          items: { type: 'string', minLength: 1, maxLength: 63 },
          maxItems: 1024,
          description: 'Services whose members may be in several namespaces. `*` means all services.',
        },
        servicesPerNamespace: {
          type: 'integer',
          minimum: 0,
          maximum: 65_536,
          description: 'Maximum number of services that one namespace may have at a time.',
          default: 64,
        },
      },
    },
    order: fileOrderSchema,
  },
};

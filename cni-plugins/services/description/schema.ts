/** The most backends of one service. A service with more is a mistake, and no balancer holds it. */
export const maxBackends = 1024;

/** The most prefixes of one service. */
export const maxSourceRanges = 1024;

export const serviceApiVersion = 'portcullis.dev/v1alpha1';

export const schedulers = ['rr', 'wrr', 'lc', 'sh', 'maglev'] as const;

const portNumber = { type: 'integer', minimum: 1, maximum: 65535 } as const;
const protocol = { enum: ['tcp', 'udp', 'sctp'] } as const;
const portName = {
  type: 'string',
  maxLength: 63,
  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
  description: 'write lower-case letters, digits and dashes',
} as const;
const address = { type: 'string', minLength: 2, maxLength: 45 } as const;
/** Matches `30s`, `5m`, `3h` and `2d`. */
export const durationPattern = '^(0|[1-9][0-9]{0,6})[smhd]$';
const duration = {
  type: 'string',
  pattern: durationPattern,
  description: 'write a number and s, m, h or d, such as 30s',
} as const;
const count = { type: 'integer', minimum: 1, maximum: 100 } as const;
const printable = {
  type: 'string',
  minLength: 1,
  maxLength: 4096,
  pattern: '^[^\\u0000-\\u001f\\u007f]+$',
} as const;

/** The names of services. A Kubernetes service is named `namespace/name`. */
export const serviceNamePattern =
  '^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?(/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$';

const serviceName = {
  type: 'string',
  maxLength: 253,
  pattern: serviceNamePattern,
  description: 'write letters, digits, dashes and dots, optionally after a group and a slash: shop/web',
} as const;

/** JSON Schema (draft 2020-12) of a `kind: Service` document. */
export const serviceSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://portcullis.dev/schemas/v1alpha1/service.json',
  title: 'Portcullis Service',
  description:
    'A service: virtual addresses and ports, and the backends over which their connections are load-balanced.',
  type: 'object',
  additionalProperties: false,
  required: ['apiVersion', 'kind', 'metadata', 'ports'],
  properties: {
    $schema: { type: 'string' },
    apiVersion: { const: serviceApiVersion },
    kind: { const: 'Service' },
    metadata: {
      type: 'object',
      additionalProperties: false,
      required: ['name'],
      properties: {
        name: serviceName,
      },
    },
    addresses: {
      type: 'array',
      maxItems: 16,
      items: address,
      description: 'Virtual addresses of the service, IPv4 and IPv6. They need no interface.',
    },
    externalAddresses: {
      type: 'array',
      maxItems: 16,
      items: address,
      description: 'Addresses that are routed to the host from outside. The service is also served at them.',
    },
    loadBalancerAddresses: {
      type: 'array',
      maxItems: 16,
      items: address,
      description:
        'Addresses that a load balancer routes to the host. The service is also served at them, for the clients of loadBalancerSourceRanges.',
    },
    loadBalancerSourceRanges: {
      type: 'array',
      minItems: 1,
      maxItems: maxSourceRanges,
      items: { type: 'string', minLength: 4, maxLength: 49 },
      description:
        'Prefixes of the clients that may connect to loadBalancerAddresses. Each family that has such an address needs a prefix. Packets of other clients are dropped. If omitted, every client may connect.',
    },
    ports: {
      type: 'array',
      minItems: 1,
      maxItems: 64,
      items: { anyOf: [{ $ref: '#/$defs/shortPort' }, portNumber, { $ref: '#/$defs/port' }] },
      description: 'Ports that clients connect to.',
    },
    scheduler: {
      enum: schedulers,
      description:
        'How the backend of a new connection is selected: in turn (rr), in turn by weight (wrr), by fewest connections (lc), by the client’s address (sh) or by consistent hash (maglev). Default: wrr if a backend has a weight above 1, otherwise rr.',
    },
    clientAffinity: {
      type: 'boolean',
      description:
        'Whether all connections of a client go to one backend, as long as the backends do not change. Default: false.',
    },
    persistence: {
      ...duration,
      description:
        'Time without traffic, such as 30s, 5m, 3h or 1d, until which a client goes to the backend of its last connection. If omitted, connections of a client are independent of earlier ones.',
    },
    forwarding: {
      enum: ['nat', 'dsr'],
      description:
        'How packets are forwarded to the backend. With dsr (direct server return), the backend holds the virtual address itself and answers the client directly. Default: nat.',
    },
    sourceAddress: {
      enum: ['keep', 'masquerade'],
      description: 'Whether backends see the client’s address (keep) or not (masquerade). Default: keep.',
    },
    drainGrace: {
      ...duration,
      description:
        'How long connections to a backend may continue after the backend is drained, is removed or becomes unhealthy. Default: 30s.',
    },
    healthCheck: {
      $ref: '#/$defs/healthCheck',
      description: 'Check of the backends. If omitted, all backends count as healthy.',
    },
    backends: {
      type: 'array',
      maxItems: maxBackends,
      items: { anyOf: [{ type: 'string', minLength: 2, maxLength: 64 }, { $ref: '#/$defs/backend' }] },
      description: 'Backends that serve the connections. If there are none, connections are refused.',
    },
  },
  $defs: {
    shortPort: {
      type: 'string',
      maxLength: 20,
      pattern: '^[0-9]{1,5}(:[0-9]{1,5})?(/(tcp|udp|sctp))?$',
      description: 'write PORT, PORT/PROTOCOL or PORT:TARGET/PROTOCOL, such as 80:8080/tcp',
    },
    port: {
      type: 'object',
      additionalProperties: false,
      required: ['port'],
      properties: {
        name: {
          ...portName,
          description:
            'Name of the port, in lower-case letters, digits and dashes. It must be unique in the service. Default: PROTOCOL-PORT.',
        },
        protocol: { ...protocol, description: 'Protocol of the port. Default: tcp.' },
        port: { ...portNumber, description: 'Port number at the service’s addresses.' },
        targetPort: { ...portNumber, description: 'Port number at the backends. Default: the same as port.' },
        nodePort: {
          ...portNumber,
          description:
            'Port number at which the host also serves this port, at each of its own addresses. See docs/services.md about loopback addresses.',
        },
      },
    },
    backend: {
      type: 'object',
      additionalProperties: false,
      required: ['address'],
      properties: {
        address: { ...address, description: 'Address of the backend, IPv4 or IPv6.' },
        port: {
          ...portNumber,
          description:
            'Port number at this backend, for all ports of the service. If omitted, the targetPort of each port.',
        },
        ports: {
          type: 'object',
          maxProperties: 64,
          propertyNames: { pattern: portName.pattern },
          additionalProperties: portNumber,
          description:
            'Port numbers at this backend, by the names of the service’s ports. They take precedence over port.',
        },
        weight: {
          type: 'integer',
          minimum: 0,
          maximum: 65535,
          description:
            'Share of new connections that the backend gets. With 0, it gets no new connections, and existing ones continue. Default: 1.',
        },
        draining: {
          type: 'boolean',
          description:
            'Whether the backend is drained: it gets no new connections, and existing ones end when drainGrace is over. Default: false.',
        },
      },
    },
    healthCheck: {
      type: 'object',
      additionalProperties: false,
      properties: {
        tcp: {
          type: 'object',
          additionalProperties: false,
          properties: {},
          description: 'A check that succeeds if a TCP connection is established.',
        },
        http: {
          type: 'object',
          additionalProperties: false,
          properties: {
            path: {
              ...printable,
              pattern: '^/[!-~]*$',
              description: 'Path of the request, beginning with a slash. Default: /.',
            },
            host: {
              ...printable,
              maxLength: 253,
              pattern: '^[A-Za-z0-9.:\\[\\]-]+$',
              description: 'Host header of the request. Default: the address of the backend.',
            },
            status: {
              type: 'array',
              minItems: 1,
              maxItems: 100,
              items: { type: 'integer', minimum: 100, maximum: 599 },
              description: 'Status codes of a healthy backend. Default: 200 to 399.',
            },
          },
          description: 'A check that succeeds if the backend answers GET with one of these status codes.',
        },
        exec: {
          type: 'object',
          additionalProperties: false,
          required: ['command'],
          properties: {
            command: {
              type: 'array',
              minItems: 1,
              maxItems: 64,
              items: { ...printable, pattern: '^[^\\u0000]+$' },
              description: 'Absolute path of the program, and its arguments.',
            },
          },
          description:
            'A check that succeeds if a program of the host, given by its absolute path, exits with status 0. The program gets BACKEND_ADDRESS and BACKEND_PORT in its environment.',
        },
        port: {
          ...portName,
          description: 'Name of the service’s port that is checked. Default: the first port.',
        },
        interval: { ...duration, description: 'Time between two checks, such as 10s. Default: 5s.' },
        timeout: { ...duration, description: 'Maximum duration of one check, such as 5s. Default: 2s.' },
        failures: {
          ...count,
          description:
            'Number of consecutive failed checks after which a backend becomes unhealthy. Default: 3.',
        },
        successes: {
          ...count,
          description:
            'Number of consecutive successful checks after which a backend becomes healthy again. Default: 2.',
        },
      },
    },
  },
} as const;

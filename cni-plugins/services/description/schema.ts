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
  description: 'write small letters, digits and dashes',
} as const;
const address = { type: 'string', minLength: 2, maxLength: 45 } as const;
/** Matches `30s`, `5m`, `3h` and `2d`. */
export const durationPattern = '^(0|[1-9][0-9]{0,6})[smhd]$';
const duration = { type: 'string', pattern: durationPattern, description: 'write a number and s, m, h or d, such as 30s' } as const;
const count = { type: 'integer', minimum: 1, maximum: 100 } as const;
const printable = { type: 'string', minLength: 1, maxLength: 4096, pattern: '^[^\\u0000-\\u001f\\u007f]+$' } as const;

/** The names of services. A Kubernetes service is named `namespace/name`. */
export const serviceNamePattern = '^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?(/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$';

/** JSON Schema (draft 2020-12) of a `kind: Service` document. */
export const serviceSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://portcullis.dev/schemas/v1alpha1/service.json',
  title: 'Portcullis Service',
  description: 'Virtual addresses and ports, and the backends that answer for them.',
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
        name: {
          type: 'string',
          maxLength: 253,
          pattern: serviceNamePattern,
          description: 'write letters, digits, dashes, dots; a group and a slash may stand before it: shop/web',
        },
      },
    },
    addresses: {
      type: 'array',
      maxItems: 16,
      items: address,
      description: 'Virtual addresses, IPv4 and IPv6. They need no interface.',
    },
    externalAddresses: {
      type: 'array',
      maxItems: 16,
      items: address,
      description: 'Addresses that are routed to the host from outside, and balanced there too.',
    },
    loadBalancerAddresses: {
      type: 'array',
      maxItems: 16,
      items: address,
      description: 'Addresses that a load balancer routes to the host: external ones that loadBalancerSourceRanges are about.',
    },
    loadBalancerSourceRanges: {
      type: 'array',
      minItems: 1,
      maxItems: maxSourceRanges,
      items: { type: 'string', minLength: 4, maxLength: 49 },
      description: 'Who may connect to loadBalancerAddresses: prefixes, of each family that has such an address. Others are dropped.',
    },
    ports: {
      type: 'array',
      minItems: 1,
      maxItems: 64,
      items: { anyOf: [{ $ref: '#/$defs/shortPort' }, portNumber, { $ref: '#/$defs/port' }] },
      description: 'What clients connect to.',
    },
    scheduler: {
      enum: schedulers,
      description: 'How a new connection gets its backend: rr by default, wrr where a backend has a weight.',
    },
    clientAffinity: {
      type: 'boolean',
      description: "A client's connections go to one backend as long as the backends do not change.",
    },
    persistence: {
      ...duration,
      description: 'A client goes to the backend of its last connection until it was silent for so long: 30s, 5m, 3h, 1d.',
    },
    forwarding: {
      enum: ['nat', 'dsr'],
      description: 'dsr: the backend holds the virtual address itself and answers the client directly. nat by default.',
    },
    sourceAddress: {
      enum: ['keep', 'masquerade'],
      description: "Whether backends see the client's address. Default: keep.",
    },
    drainGrace: {
      ...duration,
      description: 'How long connections to a backend may continue after it was drained or removed or became unhealthy. Default: 30s.',
    },
    healthCheck: { $ref: '#/$defs/healthCheck' },
    backends: {
      type: 'array',
      maxItems: maxBackends,
      items: { anyOf: [{ type: 'string', minLength: 2, maxLength: 64 }, { $ref: '#/$defs/backend' }] },
      description: 'What answers. None: connections are refused.',
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
        name: { ...portName, description: 'Unique in the service; PROTOCOL-PORT by default.' },
        protocol: { ...protocol, description: 'tcp by default.' },
        port: { ...portNumber, description: "At the service's addresses." },
        targetPort: { ...portNumber, description: 'At the backends; the same unless told.' },
        nodePort: { ...portNumber, description: 'At every address of the host, too.' },
      },
    },
    backend: {
      type: 'object',
      additionalProperties: false,
      required: ['address'],
      properties: {
        address: { ...address, description: 'IPv4 or IPv6.' },
        port: { ...portNumber, description: "For all of the service's ports." },
        ports: {
          type: 'object',
          maxProperties: 64,
          propertyNames: { pattern: portName.pattern },
          additionalProperties: portNumber,
          description: "By the names of the service's ports.",
        },
        weight: {
          type: 'integer',
          minimum: 0,
          maximum: 65535,
          description: '1 unless told; 0: no new connections, those that stand go on.',
        },
        draining: { type: 'boolean', description: 'No new connections, and none at all after the grace.' },
      },
    },
    healthCheck: {
      type: 'object',
      additionalProperties: false,
      properties: {
        tcp: { type: 'object', additionalProperties: false, properties: {}, description: 'A connection must come about.' },
        http: {
          type: 'object',
          additionalProperties: false,
          properties: {
            path: { ...printable, pattern: '^/[!-~]*$', description: 'Begins with a slash; / unless told.' },
            host: {
              ...printable,
              maxLength: 253,
              pattern: '^[A-Za-z0-9.:\\[\\]-]+$',
              description: 'Of the request; the address of the backend unless told.',
            },
            status: {
              type: 'array',
              minItems: 1,
              maxItems: 100,
              items: { type: 'integer', minimum: 100, maximum: 599 },
              description: 'Answers that are well; 200 to 399 unless told.',
            },
          },
          description: 'GET must be answered by one of these.',
        },
        exec: {
          type: 'object',
          additionalProperties: false,
          required: ['command'],
          properties: { command: { type: 'array', minItems: 1, maxItems: 64, items: { ...printable, pattern: '^[^\\u0000]+$' } } },
          description: 'A program of the host by its absolute path, told BACKEND_ADDRESS and BACKEND_PORT, must end with status 0.',
        },
        port: { ...portName, description: "Of the service's ports by name; the first unless told." },
        interval: { ...duration, description: 'From one check to the next: 5s unless told.' },
        timeout: { ...duration, description: 'That one check may take: 2s unless told.' },
        failures: { ...count, description: 'In a row, until a backend is taken out; 3 unless told.' },
        successes: { ...count, description: 'In a row, until it is back; 2 unless told.' },
      },
    },
  },
} as const;

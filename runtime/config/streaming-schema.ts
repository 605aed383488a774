import type { ConfigSchema } from './config-schema.ts';

/** The key `streaming` of `config.yaml`. */
export const streamingSchema: ConfigSchema = {
  type: 'object',
  description:
    'Server of exec, attach and port-forward streams. The CRI returns its URLs. Each URL is valid for one use within a minute.',
  additionalProperties: false,
  properties: {
    address: {
      type: 'string',
      maxLength: 255,
      description: 'Address at which the streaming server listens. A kubelet is on the same machine.',
      default: '127.0.0.1',
    },
    port: {
      type: 'integer',
      minimum: 0,
      maximum: 65_535,
      description: 'Port of the server. 0 selects any free port.',
      default: 0,
    },
    tls: {
      type: 'object',
      description: 'TLS of the streaming server. It is enabled if both files are given.',
      additionalProperties: false,
      properties: {
        certFile: {
          type: 'string',
          format: 'path',
          maxLength: 4096,
          description: 'File of the certificate chain (PEM). It is read again whenever the server starts.',
          default: '',
        },
        keyFile: {
          type: 'string',
          format: 'path',
          maxLength: 4096,
          description: 'File of the certificate’s private key (PEM).',
          default: '',
        },
      },
    },
    idleTimeout: {
      type: 'integer',
      minimum: 1,
      maximum: 2_000_000,
      description: 'Seconds after which a stream without traffic is closed.',
      default: 14_400,
    },
    maxSessions: {
      type: 'integer',
      minimum: 1,
      maximum: 100_000,
      description: 'Maximum number of streams that may be open at once.',
      default: 2_000,
    },
    maxSessionsPerContainer: {
      type: 'integer',
      minimum: 1,
      maximum: 100_000,
      description: 'Maximum number of open streams to one container, or to the ports of one pod.',
      default: 500,
    },
  },
};

import type { ConfigSchema } from './config-schema.ts';

const address = '^(\\[[0-9A-Fa-f:]+\\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$';

/** The URL of a server to which the daemon sends. If it is empty, nothing is sent. */
const collectorUrl = (description: string): ConfigSchema => ({
  type: 'string',
  pattern: '^$|^https?://[^\\s?#@]+$',
  description,
  default: '',
});

/** The key `metrics` of `config.yaml`. */
export const metricsSchema: ConfigSchema = {
  type: 'object',
  description:
    'Prometheus metrics and health checks, over plain HTTP without authentication. See docs/observability.md.',
  additionalProperties: false,
  properties: {
    address: {
      type: 'string',
      pattern: `^$|${address}`,
      description:
        'HOST:PORT that serves `/metrics` and `/healthz`, such as `127.0.0.1:9464`. If empty, they are not served.',
      default: '',
    },
  },
};

/** The key `tracing` of `config.yaml`. */
export const tracingSchema: ConfigSchema = {
  type: 'object',
  description: 'OpenTelemetry traces of calls. They continue the traces of the caller.',
  additionalProperties: false,
  properties: {
    endpoint: collectorUrl(
      'URL of a collector that accepts OTLP over HTTP, such as `http://127.0.0.1:4318`. The daemon appends `/v1/traces`. If empty, no traces are exported.',
    ),
    samplingRatePerMillion: {
      type: 'integer',
      minimum: 0,
      maximum: 1_000_000,
      description:
        'Number of calls per million that begin a trace, among calls whose caller sends no trace. A caller that sends a trace decides itself whether it is sampled.',
      default: 0,
    },
  },
};

const file = { type: 'string', format: 'path', maxLength: 4096, default: '' } as const;

/** The key `fleet` of `config.yaml`. */
export const fleetSchema: ConfigSchema = {
  type: 'object',
  description: 'The aggregator that receives the verdict log and the state of this node. See docs/fleet.md.',
  additionalProperties: false,
  properties: {
    endpoint: collectorUrl(
      'URL of the aggregator, such as `https://fleet.example.com:4319`. The daemon appends `/v1/logs`. If empty, nothing is sent.',
    ),
    tokenFile: { ...file, description: 'File with the token of this node. It is read for each request.' },
    caFile: {
      ...file,
      description: 'PEM certificates of authorities for the aggregator, in addition to those of the system.',
    },
    certFile: { ...file, description: 'PEM client certificate of this node, instead of a token.' },
    keyFile: { ...file, description: 'PEM private key of the client certificate.' },
    node: {
      type: 'string',
      pattern: '^$|^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$',
      description:
        'Name of this node at the aggregator. It must be the name of the token or of the certificate. If empty, the name of the host.',
      default: '',
    },
    labels: {
      type: 'object',
      description: 'Labels of this node at the aggregator, such as `zone: north`.',
      maxProperties: 32,
      propertyNames: { pattern: '^[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?$' },
      additionalProperties: { type: 'string', maxLength: 256, description: 'Value of the label.' },
      default: {},
    },
  },
};

/** The key `audit` of `config.yaml`. */
export const auditSchema: ConfigSchema = {
  type: 'object',
  description:
    'Audit log: which client asked for what, as one JSON object per line. See docs/observability.md.',
  additionalProperties: false,
  properties: {
    path: {
      type: 'string',
      format: 'path',
      maxLength: 4096,
      description:
        'File of the audit log, mode 0600. It is opened again at SIGHUP. If empty, there is no audit log.',
      default: '',
    },
    reads: { type: 'boolean', description: 'Whether calls that only read are logged, too.', default: false },
    required: {
      type: 'boolean',
      description:
        'Whether calls that change something are refused while the log cannot be written. Each of these calls is then logged before it is served, in addition to the line when it is done.',
      default: false,
    },
  },
};

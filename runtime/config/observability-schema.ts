import type { ConfigSchema } from './config-schema.ts';

const address = '^(\\[[0-9A-Fa-f:]+\\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$';

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
    endpoint: {
      type: 'string',
      pattern: '^$|^https?://[^\\s?#@]+$',
      description:
        'URL of a collector that accepts OTLP over HTTP, such as `http://127.0.0.1:4318`. The daemon appends `/v1/traces`. If empty, no traces are exported.',
      default: '',
    },
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

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Context, Span, TextMapGetter, Tracer } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { hostname } from 'node:os';
import { isPortcullisError, statusName } from '../../base/errors/index.ts';
import { withLogFields } from '../../base/log/index.ts';
import type { CallObserver, StartedCall } from '../cri/observe.ts';
import { within } from './spans.ts';
import type { OpenSpan, SpanAttributes } from './spans.ts';

export interface Tracing {
  readonly calls: CallObserver;
  /** Sends the waiting spans, for at most two seconds. */
  close(): Promise<void>;
}

const propagator = new W3CTraceContextPropagator();
const headers: TextMapGetter<StartedCall['header']> = { get: (header, key) => header(key), keys: () => [] };
const closingMs = 2_000;

/**
 * Creates a span for each call, joined to the caller's trace by the W3C headers `traceparent` and
 * `tracestate` that a kubelet sends as gRPC metadata, with a child for each {@link traced} part. Spans are
 * sent by OTLP over HTTP (JSON) in batches. A queue holds 2,048 spans, and further spans are dropped. An
 * unreachable collector has no other cost. Attributes: OpenTelemetry semantic conventions for RPC. Loaded
 * only when tracing is configured.
 * @param options.endpoint base URL of the collector; `/v1/traces` is added
 */
export function openTracing(options: {
  readonly endpoint: string;
  readonly samplingRatePerMillion: number;
  readonly version: string;
}): Tracing {
  const exporter = new OTLPTraceExporter({
    url: `${options.endpoint.replace(/\/+$/, '')}/v1/traces`,
    timeoutMillis: 5_000,
  });
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': 'portcullis',
      'service.version': options.version,
      'host.name': hostname(),
      'process.pid': process.pid,
    }),
    sampler: new ParentBasedSampler({
      root: new TraceIdRatioBasedSampler(options.samplingRatePerMillion / 1_000_000),
    }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: 2_048,
        scheduledDelayMillis: 1_000,
        exportTimeoutMillis: 5_000,
      }),
    ],
    spanLimits: { attributeValueLengthLimit: 1_024 },
  });
  const tracer = provider.getTracer('portcullis', options.version);
  return {
    calls: {
      begin: (call) => {
        const parent = propagator.extract(ROOT_CONTEXT, call.header, headers);
        const attributes = {
          'rpc.system': 'grpc',
          'rpc.service': call.service,
          'rpc.method': call.rpc,
          'portcullis.request_id': call.requestId,
        };
        const span = tracer.startSpan(
          `${call.service}/${call.rpc}`,
          { kind: SpanKind.SERVER, attributes },
          parent,
        );
        const root: OpenSpan = { child: childOf(tracer, span, parent), end: () => undefined };
        const fields = span.isRecording() ? { trace: span.spanContext().traceId } : {};
        return {
          within: (body) => withLogFields(fields, () => (span.isRecording() ? within(root, body) : body())),
          end: ({ code, failure }) => {
            span.setAttribute('rpc.grpc.status_code', code);
            if (failure !== undefined) fail(span, failure, statusName(code));
            span.end();
          },
        };
      },
    },
    close: async () => {
      let timer: NodeJS.Timeout | undefined;
      const enough = new Promise((resolve) => (timer = setTimeout(resolve, closingMs)));
      await Promise.race([provider.shutdown().catch(() => undefined), enough]);
      clearTimeout(timer);
    },
  };
}

function childOf(tracer: Tracer, parent: Span, context: Context): OpenSpan['child'] {
  const inside = trace.setSpan(context, parent);
  return (name: string, attributes: SpanAttributes) => {
    const span = tracer.startSpan(name, { kind: SpanKind.INTERNAL, attributes }, inside);
    return {
      child: childOf(tracer, span, inside),
      end: (failure) => {
        if (failure !== undefined) fail(span, failure, isPortcullisError(failure) ? failure.code : 'error');
        span.end();
      },
    };
  };
}

/** Records only codes, because a message may quote what a caller sent. */
function fail(span: Span, failure: unknown, message: string): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message });
  if (isPortcullisError(failure)) span.setAttribute('error.type', failure.code);
}

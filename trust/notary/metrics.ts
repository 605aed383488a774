import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Counts requests under the metric names of notary-server. Cheap enough for every request. */
export interface ServiceMetrics {
  /**
   * Counts one request.
   * @param seconds duration of the request
   */
  observe(operation: string, method: string, status: number, seconds: number): void;
  /** Sets the source of the connection counts that are shown from now on. */
  watch(counts: () => { readonly open: number; readonly refused: number; readonly ended: number }): void;
  render(): Promise<{ readonly type: string; readonly body: string }>;
}

export function createServiceMetrics(): ServiceMetrics {
  const registry = new Registry();
  const labels = ['operation', 'method', 'code'];
  const requests = new Counter({
    name: 'notary_server_http_requests_total',
    help: 'Requests answered, by operation, method and status.',
    labelNames: labels,
    registers: [registry],
  });
  const durations = new Histogram({
    name: 'portcullis_trust_request_duration_seconds',
    help: 'How long requests took, from their head to the end of the answer.',
    labelNames: ['operation'],
    buckets: [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
    registers: [registry],
  });
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size in bytes.',
    registers: [registry],
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  // Looking up labels by name on each request costs more than counting.
  const known = new Map<
    string,
    { readonly counter: Counter.Internal; readonly timer: Histogram.Internal<string> }
  >();
  return {
    observe(operation, method, status, seconds) {
      const key = `${operation} ${method} ${status}`;
      let one = known.get(key);
      if (one === undefined) {
        const counter = requests.labels(operation, method.toLowerCase(), String(status));
        one = { counter, timer: durations.labels(operation) };
        known.set(key, one);
      }
      one.counter.inc();
      one.timer.observe(seconds);
    },
    watch(counts) {
      new Gauge({
        name: 'portcullis_trust_connections',
        help: 'Connections that are open.',
        registers: [registry],
        collect() {
          this.set(counts().open);
        },
      });
      new Gauge({
        name: 'portcullis_trust_connections_refused',
        help: 'Connections since the start that were refused because the maximum number of connections was reached (reason="full"), or closed in favour of another peer (reason="waiting").',
        labelNames: ['reason'],
        registers: [registry],
        collect() {
          const { refused, ended } = counts();
          this.set({ reason: 'full' }, refused);
          this.set({ reason: 'waiting' }, ended);
        },
      });
    },
    render: async () => ({ type: registry.contentType, body: await registry.metrics() }),
  };
}

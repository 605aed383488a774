import { Counter, Gauge, Registry } from 'prom-client';
import { alertCodes, alertsOf, summaryOf } from '../api/alerts.ts';
import type { Received } from '../intake/intake.ts';
import { listNodes } from '../store/queries.ts';
import type { Reader } from '../store/queries.ts';
import { fleetMetrics } from './catalogue.ts';
import type { FleetMetric } from './catalogue.ts';

/** Counts requests, and reads everything else at a scrape. */
export interface FleetCounts {
  answered(status: number): void;
  received(received: Pick<Received, 'rejected' | 'outcomes'>): void;
  render(): Promise<{ readonly type: string; readonly body: string }>;
}

const mostRoots = 50;
const dayMs = 86_400_000;

/** Creates the metrics of an aggregator. */
export function createFleetCounts(reader: Reader, now: () => number): FleetCounts {
  const registry = new Registry();
  const options = ({ name, help, labels }: FleetMetric) => ({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
  });
  const gauge = (definition: FleetMetric): Gauge => new Gauge(options(definition));
  const counter = (definition: FleetMetric): Counter => new Counter(options(definition));
  const m = fleetMetrics;
  const [rows, requests, refused] = [counter(m.rows), counter(m.requests), counter(m.refused)];
  for (const outcome of ['admit', 'deny', 'undecided']) rows.inc({ outcome }, 0);
  const gauges = {
    nodes: gauge(m.nodes),
    silent: gauge(m.silent),
    alerts: gauge(m.alerts),
    enforcement: gauge(m.enforcement),
    revisions: gauge(m.revisions),
    outOfPolicy: gauge(m.outOfPolicy),
    degraded: gauge(m.degraded),
    running: gauge(m.running),
    rootDays: gauge(m.rootDays),
    bytes: gauge(m.bytes),
  };

  async function read(): Promise<void> {
    const [nodes, bytes] = await Promise.all([
      listNodes(reader),
      reader.get('SELECT coalesce(sum(bytes), 0) AS bytes FROM node'),
    ]);
    const at = now();
    const summaries = nodes.map(summaryOf).filter((one) => one !== undefined);
    const alerts = nodes.flatMap((node) => alertsOf(node, at));
    const count = (code: string): number => alerts.filter((alert) => alert.code === code).length;
    const sum = (of: 'outOfPolicy' | 'degraded' | 'running'): number =>
      summaries.reduce((total, one) => total + one[of], 0);
    gauges.nodes.set(nodes.length);
    gauges.silent.set(count('NODE_SILENT'));
    for (const code of Object.keys(alertCodes)) gauges.alerts.set({ code }, count(code));
    for (const result of ['pass', 'fail', 'could not tell'])
      gauges.enforcement.set(
        { result: result.replaceAll(' ', '-') },
        summaries.filter(({ enforcement }) => enforcement === result).length,
      );
    gauges.revisions.set(new Set(summaries.flatMap(({ revision }) => revision ?? [])).size);
    gauges.outOfPolicy.set(sum('outOfPolicy'));
    gauges.degraded.set(sum('degraded'));
    gauges.running.set(sum('running'));
    gauges.bytes.set(Number(bytes?.['bytes'] ?? 0));
    gauges.rootDays.reset();
    const roots = new Map<string, number>();
    for (const { root } of summaries) {
      if (root === undefined) continue;
      const ends = Date.parse(root.ends);
      // The month of a date of a node can be 13.
      if (!Number.isFinite(ends)) continue;
      roots.set(root.name, Math.min(roots.get(root.name) ?? Infinity, ends));
    }
    for (const [root, ends] of [...roots].sort(([, a], [, b]) => a - b).slice(0, mostRoots))
      gauges.rootDays.set({ root }, (ends - at) / dayMs);
  }

  return {
    answered: (code) => requests.inc({ code: String(code) }),
    received: ({ outcomes, rejected }) => {
      for (const [outcome, count] of Object.entries(outcomes)) rows.inc({ outcome }, count);
      refused.inc(rejected);
    },
    render: async () => {
      await read();
      return { type: registry.contentType, body: await registry.metrics() };
    },
  };
}

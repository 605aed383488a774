import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { statusName } from '../../base/errors/index.ts';
import { rpcs } from '../cri/contract/services.ts';
import type { MetricDefinition } from '../observability/metric-definition.ts';
import type { CountDecision } from '../observability/watch-runtime.ts';
import { proxyCatalogue } from './catalogue.ts';

/** Values that are read at a scrape. */
export interface ProxyFacts {
  readonly version: string;
  policy(): {
    readonly revision: string | undefined;
    readonly failed: boolean;
    readonly loads: Readonly<Record<string, number>>;
  };
  images(): number;
  containers(): number;
  backendConnections(): number;
  /** Whether the backend answers. Never rejects. */
  backendAnswers(): Promise<boolean>;
}

export interface ProxyMetrics {
  /** Counts a call. @returns the function to call at its end, with its gRPC status */
  readonly begins: (rpc: string) => (code: number) => void;
  readonly decided: CountDecision;
  /** Returns the text of `/metrics`, with current values. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/** A client may name any method. */
const known = new Set(rpcs.map(({ name }) => name));
const methodOf = (rpc: string): string => (known.has(rpc) ? rpc : 'other');

/** Counts calls and decisions, and reads all other values at a scrape. Loaded only when it is configured. */
export function openProxyMetrics(facts: ProxyFacts): ProxyMetrics {
  const registry = new Registry();
  const options = ({ name, help, labels }: MetricDefinition) => ({
    ...{ name, help, labelNames: [...labels], registers: [registry] },
  });
  const c = proxyCatalogue;
  const { buckets = [] }: MetricDefinition = c.rpcDuration;
  const duration = new Histogram({ ...options(c.rpcDuration), buckets: [...buckets] });
  const inFlight = new Gauge(options(c.rpcsInFlight));
  const verdicts = new Counter(options(c.verdicts));
  for (const outcome of ['admit', 'deny', 'undecided'])
    for (const act of ['pull', 'run']) verdicts.inc({ outcome, act }, 0);
  const { buildInfo, policyInForce, policyReloadFailed, policyInfo, residentBytes, startTime, ...own } = c;
  const gauges = [buildInfo, policyInForce, policyReloadFailed, policyInfo, residentBytes, startTime];
  const backend = [own.backendUp, own.backendConnections, own.images, own.containers];
  const read = new Map<string, Counter | Gauge>([
    ...[...gauges, ...backend].map((one) => [one.name, new Gauge(options(one))] as const),
    ...[c.policyLoads, c.cpuSeconds].map((one) => [one.name, new Counter(options(one))] as const),
  ]);
  const set = ({ name }: MetricDefinition, value: number, labels: Record<string, string> = {}): void => {
    const found = read.get(name);
    if (found instanceof Gauge) found.set(labels, value);
    else found?.inc(labels, value);
  };
  return {
    begins: (rpc) => {
      const method = methodOf(rpc);
      const started = performance.now();
      inFlight.inc({ method });
      return (code) => {
        inFlight.dec({ method });
        duration.observe({ method, code: statusName(code) }, (performance.now() - started) / 1000);
      };
    },
    decided: (outcome, act) => verdicts.inc({ outcome, act }),
    async render() {
      const isUp = await facts.backendAnswers();
      // Totals are set again each time, and a revision that is no longer in force must not be reported.
      for (const one of read.values()) one.reset();
      const { revision, failed, loads } = facts.policy();
      const { user, system } = process.cpuUsage();
      set(c.buildInfo, 1, { version: facts.version, node: process.versions.node });
      set(c.policyInForce, Number(revision !== undefined));
      set(c.policyReloadFailed, Number(failed));
      if (revision !== undefined) set(c.policyInfo, 1, { revision });
      for (const [outcome, count] of Object.entries(loads)) set(c.policyLoads, count, { outcome });
      set(c.backendUp, Number(isUp));
      set(c.backendConnections, facts.backendConnections());
      set(c.images, facts.images());
      set(c.containers, facts.containers());
      set(c.cpuSeconds, (user + system) / 1e6);
      set(c.residentBytes, process.memoryUsage.rss());
      set(c.startTime, performance.timeOrigin / 1000);
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}

import { readdir } from 'node:fs/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { DeliveryStatus } from '../policy-delivery/status.ts';
import type { CallObserver } from '../cri/observe.ts';
import { metricCatalogue } from './catalogue.ts';
import type { MetricDefinition } from './catalogue.ts';
import type { DaemonFacts, RuntimeObserver } from './facts.ts';
import { reportCluster } from './cluster-metrics.ts';
import { reportEnforcement } from './enforcement-metrics.ts';
import { setServiceMetrics } from './service-metrics.ts';
import { statusName } from '../../base/errors/index.ts';

export interface Metrics {
  readonly calls: CallObserver;
  readonly runtime: RuntimeObserver;
  /** Returns the text of `/metrics`, with current values. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
  close(): void;
}

/**
 * How often the delay of the main thread is sampled. A shorter interval would wake an idle daemon needlessly.
 */
const sampleMs = 20;

/** Exit reasons that a status can have. Any other counts as `other`. */
const exitReasons = new Set(['Completed', 'Error', 'OOMKilled', 'MonitorLost', 'StartError', 'Unknown']);

/**
 * Counts events and reads all other values at a scrape (docs/observability.md lists each metric). Label
 * values are few, whatever callers send. Loaded only when metrics are configured.
 */
export function openMetrics(facts: DaemonFacts): Metrics {
  const registry = new Registry();
  const options = ({ name, help, labels }: MetricDefinition) => ({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
  });
  const counter = (definition: MetricDefinition): Counter => new Counter(options(definition));
  const gauge = (definition: MetricDefinition): Gauge => new Gauge(options(definition));
  const histogram = (definition: MetricDefinition): Histogram =>
    new Histogram({ ...options(definition), buckets: [...(definition.buckets ?? [])] });
  const c = metricCatalogue;

  const rpcDuration = histogram(c.rpcDuration);
  const rpcsInFlight = gauge(c.rpcsInFlight);
  const starts = counter(c.containerStarts);
  const exits = counter(c.containerExits);
  const ooms = counter(c.containerOoms);
  const pulls = counter(c.pulls);
  const pullDuration = histogram(c.pullDuration);
  const networkActs = histogram(c.networkActs);
  const fetched = counter(c.fetchedBytes);
  const verdicts = counter(c.verdicts);
  const exceptions = counter(c.exceptions);
  const nriCalls = counter(c.nriCalls);
  const nriAdjustments = counter(c.nriAdjustments);
  for (const outcome of ['applied', 'refused']) nriAdjustments.inc({ outcome }, 0);
  for (const outcome of ['ok', 'failed']) starts.inc({ outcome }, 0);
  for (const outcome of ['admit', 'deny', 'undecided'])
    for (const act of ['pull', 'run']) verdicts.inc({ outcome, act }, 0);
  for (const kind of ['break-glass', 'report'])
    for (const act of ['pull', 'run']) exceptions.inc({ kind, act }, 0);

  const delay = monitorEventLoopDelay({ resolution: sampleMs });
  delay.enable();
  const read = readers(registry, gauge, counter, facts, delay);

  return {
    calls: {
      begin: ({ rpc }) => {
        rpcsInFlight.inc({ method: rpc });
        return {
          end: ({ code, milliseconds }) => {
            rpcsInFlight.dec({ method: rpc });
            rpcDuration.observe({ method: rpc, code: statusName(code) }, milliseconds / 1000);
          },
        };
      },
    },
    runtime: {
      started: (outcome) => starts.inc({ outcome }),
      exited: (reason) => {
        exits.inc({ reason: exitReasons.has(reason) ? reason : 'other' });
        if (reason === 'OOMKilled') ooms.inc();
      },
      pulled: (outcome, seconds) => {
        pulls.inc({ outcome });
        pullDuration.observe({ outcome }, seconds);
      },
      networked: (act, outcome, seconds) => networkActs.observe({ act, outcome }, seconds),
      fetched: (bytes) => fetched.inc(bytes),
      decided: (outcome, act) => verdicts.inc({ outcome, act }),
      excepted: (kind, act) => exceptions.inc({ kind, act }),
      nriCalled: (method, outcome) => nriCalls.inc({ method, outcome }),
      nriAdjusted: (outcome) => nriAdjustments.inc({ outcome }),
    },
    render: async () => {
      await read();
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
    close: () => {
      delay.disable();
      registry.clear();
    },
  };
}

/** Sets every metric that is read at a scrape. */
function readers(
  registry: Registry,
  gauge: (definition: MetricDefinition) => Gauge,
  counter: (definition: MetricDefinition) => Counter,
  facts: DaemonFacts,
  delay: ReturnType<typeof monitorEventLoopDelay>,
): () => Promise<void> {
  const c = metricCatalogue;
  const sets = Object.values(c)
    .filter(({ name }) => registry.getSingleMetric(name) === undefined)
    .map(
      (definition) =>
        [definition.name, definition.type === 'counter' ? counter(definition) : gauge(definition)] as const,
    );
  const byName = new Map<string, Counter | Gauge>(sets);
  const set = (definition: MetricDefinition, value: number, labels: Record<string, string> = {}): void => {
    const metric = byName.get(definition.name);
    if (metric instanceof Gauge) metric.set(labels, value);
    else if (metric !== undefined) metric.inc(labels, value);
  };
  const each = (
    definition: MetricDefinition,
    label: string,
    counts: Readonly<Record<string, number>>,
  ): void => {
    for (const [value, count] of Object.entries(counts)) set(definition, count, { [label]: value });
  };
  return async () => {
    const { network, figures, names, services, denials, usage, pulls, descriptors } = await slowFacts(facts);
    // Totals are set again each time, and a revision that is no longer in force must not be reported.
    for (const metric of byName.values()) metric.reset();
    const events = facts.events();
    set(c.buildInfo, 1, { version: facts.version, node: process.versions.node });
    each(c.pods, 'state', facts.pods());
    each(c.containers, 'state', facts.containers());
    set(c.containersDegraded, facts.degradedContainers());
    set(c.containersUnmonitored, facts.unmonitoredContainers());
    each(c.images, 'verified', facts.images());
    set(c.imageBytes, usage);
    const received = pulls.reduce((sum, pull) => sum + pull.bytesReceived, 0);
    set(c.pullsRunning, pulls.length);
    each(c.pullBytes, 'state', {
      received,
      missing: pulls.reduce((sum, pull) => sum + pull.bytes, -received),
    });
    set(c.poolSize, facts.namespacePool());
    set(c.poolTarget, facts.namespacePoolTarget);
    set(c.networkReady, Number(network));
    setNetwork({ figures, names, services, denials }, set, each);
    setPolicy(facts.policy(), set, each);
    set(c.verifications, facts.verifications());
    const out = facts.outOfPolicy();
    for (const { namespace, rule, count } of out.containers) set(c.outOfPolicy, count, { namespace, rule });
    set(c.imagesOutOfPolicy, out.images);
    const { evidence, roots } = facts.renewals();
    each(c.evidenceRenewals, 'outcome', { renewed: evidence.renewed, failed: evidence.failed });
    set(c.evidenceEnded, evidence.ended);
    each(c.rootUpdates, 'outcome', {
      updated: roots.updated,
      unchanged: roots.unchanged,
      failed: roots.failed,
    });
    set(c.rootsFailing, roots.failing);
    reportEnforcement(facts.enforcement(), set);
    set(c.eventClients, events.clients);
    set(c.eventsWaiting, events.waiting);
    set(c.eventsSent, events.sent);
    set(c.eventsLost, events.lost);
    set(c.auditFailures, facts.auditFailures());
    setProcess(delay, set);
    set(c.openFds, descriptors);
    set(c.startTime, performance.timeOrigin / 1000);
  };
}

type SetMetric = (definition: MetricDefinition, value: number, labels?: Record<string, string>) => void;
type SetEach = (
  definition: MetricDefinition,
  label: string,
  counts: Readonly<Record<string, number>>,
) => void;

/** Asks the Workers and the kernel at the same time. What does not answer counts as nothing. */
async function slowFacts(facts: DaemonFacts) {
  const [network, figures, names, services, denials, usage, pulls, descriptors] = await Promise.all([
    facts.networkReady().catch(() => false),
    facts.networkFigures().catch(() => ({
      attachments: [],
      leases: [],
      repairs: 0,
      linksLost: 0,
      linksAltered: 0,
      policies: undefined,
    })),
    facts.nameFigures().catch(() => undefined),
    facts.serviceFigures().catch(() => undefined),
    facts.networkDenials().catch(() => []),
    facts.imageBytes().catch(() => 0),
    facts.pulls().catch(() => []),
    readdir('/proc/self/fd').then(
      (names) => names.length,
      () => 0,
    ),
  ]);
  return { network, figures, names, services, denials, usage, pulls, descriptors };
}

/** Sets the metrics of the pods' network: links, leases, policies, names and services. */
function setNetwork(
  {
    figures,
    names,
    services,
    denials,
  }: Pick<Awaited<ReturnType<typeof slowFacts>>, 'denials' | 'figures' | 'names' | 'services'>,
  set: SetMetric,
  each: SetEach,
): void {
  const c = metricCatalogue;
  for (const { network: name, state, count } of figures.attachments)
    set(c.networkAttachments, count, { network: name, state });
  for (const { network: name, used, size } of figures.leases) {
    set(c.networkLeases, used, { network: name });
    if (size !== undefined) set(c.networkLeasesSize, size, { network: name });
  }
  set(c.networkRepairs, figures.repairs);
  set(c.networkLinksLost, figures.linksLost);
  set(c.networkLinksAltered, figures.linksAltered);
  if (figures.policies !== undefined) {
    set(c.networkPolicies, figures.policies.policies);
    set(c.networkPolicyProblems, figures.policies.problems.length);
    reportCluster(figures.policies.cluster, set);
  }
  if (names !== undefined) {
    each(c.dnsQueries, 'result', names.queries);
    each(c.dnsForwards, 'outcome', names.forwards);
    each(c.dnsForwardSeconds, 'outcome', names.forwardSeconds);
    each(c.dnsGates, 'state', { open: names.listeners, closed: names.closedListeners });
  }
  if (services !== undefined) setServiceMetrics(services, set);
  for (const { packets, bytes, ...labels } of denials) {
    set(c.networkDeniedPackets, packets, labels);
    set(c.networkDeniedBytes, bytes, labels);
  }
}

/** Sets the metrics of the image policy in force. */
function setPolicy(policy: ReturnType<DaemonFacts['policy']>, set: SetMetric, each: SetEach): void {
  const c = metricCatalogue;
  set(c.policyInForce, Number(policy.revision !== undefined));
  set(c.policyReloadFailed, Number(policy.failed));
  if (policy.revision !== undefined) set(c.policyInfo, 1, { revision: policy.revision });
  reportDelivery(policy.delivery, set);
  if (policy.objects !== undefined) set(c.policyClusterState, 1, { state: policy.objects.state });
  each(c.policyRules, 'verified', policy.rules);
  each(c.policyExceptions, 'kind', policy.exceptions);
  each(c.policyLoads, 'outcome', policy.loads);
}

/** Sets the metrics of this process. */
function setProcess(delay: ReturnType<typeof monitorEventLoopDelay>, set: SetMetric): void {
  const c = metricCatalogue;
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  // A sample is the time between two ticks of a timer. The time beyond its interval is the delay.
  const late = (quantile: number): number =>
    Math.max(0, delay.percentile(quantile * 100) / 1e9 - sampleMs / 1000);
  for (const quantile of [0.5, 0.9, 0.99, 0.999, 1])
    set(c.loopDelay, late(quantile), { quantile: String(quantile) });
  delay.reset();
  set(c.cpuSeconds, (user + system) / 1e6);
  set(c.residentBytes, rss);
  set(c.heapBytes, heapUsed);
}

/** Sets the metrics of a node that follows policy releases. */
function reportDelivery(delivery: DeliveryStatus | undefined, set: SetMetric): void {
  if (delivery === undefined) return;
  const { state, channel, release, expires, contact } = delivery;
  const c = metricCatalogue;
  set(c.policyReleaseState, 1, { state });
  if (release !== undefined) set(c.policyRelease, release.number, { channel });
  if (expires !== undefined) set(c.policyReleaseExpires, Date.parse(expires) / 1000, { channel });
  if (contact !== undefined) set(c.policyReleaseContact, Date.parse(contact) / 1000, { channel });
}

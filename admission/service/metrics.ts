import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { GateImage } from '../../trust/gate/index.ts';
import type { DecisionSource } from '../decisions/image-decisions.ts';
import { durationBuckets, webhookMetrics } from './catalogue.ts';
import type { WebhookMetric } from './catalogue.ts';

export type Outcome = 'allowed' | 'denied' | 'undecided' | 'invalid' | 'busy';

/** Counts the activity of the webhook. */
export interface WebhookCounts {
  begun(): void;
  /** @param seconds the time that the answer took */
  answered(path: string, outcome: Outcome, seconds: number): void;
  decided(decision: GateImage['decision'], source: DecisionSource): void;
  render(): Promise<{ readonly type: string; readonly body: string }>;
}

/** The values that are read at a scrape. */
export interface ScrapedState {
  readonly hasPolicy: boolean;
  readonly policyIsCurrent: boolean;
  /** Undefined: there is no certificate yet. */
  readonly certificateSeconds: number | undefined;
}

/** Creates the metrics of a replica. */
export function createWebhookCounts(state: () => ScrapedState): WebhookCounts {
  const registry = new Registry();
  const options = ({ name, help, labels }: WebhookMetric) => ({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
  });
  const m = webhookMetrics;
  const [requests, decisions] = [new Counter(options(m.requests)), new Counter(options(m.decisions))];
  const duration = new Histogram({ ...options(m.duration), buckets: [...durationBuckets] });
  const inFlight = new Gauge(options(m.inFlight));
  const policy = new Gauge(options(m.policy));
  const policyCurrent = new Gauge(options(m.policyCurrent));
  const certificate = new Gauge(options(m.certificate));
  return {
    begun: () => inFlight.inc(),
    answered(path, outcome, seconds) {
      inFlight.dec();
      requests.inc({ path, outcome });
      duration.observe({ path }, seconds);
    },
    decided: (decision, source) => decisions.inc({ decision, source }),
    async render() {
      const { hasPolicy, policyIsCurrent, certificateSeconds } = state();
      policy.set(hasPolicy ? 1 : 0);
      policyCurrent.set(policyIsCurrent ? 1 : 0);
      if (certificateSeconds !== undefined) certificate.set(certificateSeconds);
      return { type: registry.contentType, body: await registry.metrics() };
    },
  };
}

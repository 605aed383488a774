/** A metric of the webhook. */
export interface WebhookMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  readonly help: string;
}

const metric = (
  type: WebhookMetric['type'],
  name: string,
  labels: readonly string[],
  help: string,
): WebhookMetric => ({ type, name: `portcullis_webhook_${name}`, labels, help });

/** Every metric of the webhook. docs/webhook.md lists them. */
export const webhookMetrics = {
  requests: metric(
    'counter',
    'requests_total',
    ['path', 'outcome'],
    'Reviews answered, by path and outcome: allowed, denied, undecided, invalid or busy.',
  ),
  duration: metric('histogram', 'request_duration_seconds', ['path'], 'Time to answer a review.'),
  decisions: metric(
    'counter',
    'decisions_total',
    ['decision', 'source'],
    'Decisions about images, by decision and source: hit (kept), inflight (shared with another review) or miss.',
  ),
  inFlight: metric('gauge', 'requests_in_flight', [], 'Reviews in progress.'),
  policy: metric(
    'gauge',
    'policy_in_force',
    [],
    '1 if there is a valid policy; 0 if there is none, and every image is refused.',
  ),
  policyCurrent: metric(
    'gauge',
    'policy_current',
    [],
    '1 if the latest policy is in force; 0 if it is not valid or cannot be read, and an older policy stays in force.',
  ),
  certificate: metric(
    'gauge',
    'certificate_expiry_seconds',
    [],
    'Seconds until the certificate of the webhook expires.',
  ),
} as const satisfies Readonly<Record<string, WebhookMetric>>;

/** Upper bounds in seconds: a cached decision takes milliseconds, and no review takes more than 30 s. */
export const durationBuckets: readonly number[] = [
  0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

/** One metric, as Prometheus shows it and docs/observability.md lists it. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Each label has few values: never a name, an id or an image. */
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

/**
 * Describes one metric of the catalogue; its name gets the prefix of Portcullis. @param buckets of a
 * histogram, in seconds
 */
export function metric(
  name: string,
  type: MetricDefinition['type'],
  help: string,
  labels: readonly string[] = [],
  buckets?: readonly number[],
) {
  return {
    name: `portcullis_${name}`,
    type,
    help,
    labels,
    ...(buckets !== undefined && { buckets }),
  } satisfies MetricDefinition;
}

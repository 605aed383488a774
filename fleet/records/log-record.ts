/** A value of an attribute. Lists, maps and bytes are not read: no record of a node has one. */
export type AttributeValue = string | number | boolean;

/** A log record of OTLP, with the fields that the aggregator uses. */
export interface LogRecord {
  /** `event_name`; empty when the record is not an event. */
  readonly event: string;
  /** Milliseconds since 1970; 0 when it is absent. */
  readonly time: number;
  readonly attributes: ReadonlyMap<string, AttributeValue>;
  /** The body, if it is a string; otherwise empty. */
  readonly body: string;
}

/** The records of one resource. */
export interface ResourceRecords {
  readonly attributes: ReadonlyMap<string, AttributeValue>;
  readonly records: readonly LogRecord[];
}

/**
 * Limits of one request. A request beyond them is malformed. `fields` are those of all its messages, or the
 * values of its JSON: millions of empty ones need few bytes, and seconds of the thread that answers all
 * nodes.
 */
export const otlpLimits = { resources: 64, records: 4096, attributes: 128, fields: 2 ** 18 } as const;

/** Counts the parts of a request, and stops reading at the limits. */
export interface Counter {
  readonly resource: () => void;
  readonly record: () => void;
  readonly field: () => void;
}

/** Returns a counter whose functions throw a RangeError above {@link otlpLimits}. */
export function createCounter(): Counter {
  let resources = 0;
  let records = 0;
  let fields = 0;
  return {
    resource: () => {
      resources += 1;
      if (resources > otlpLimits.resources)
        throw new RangeError(`it has more than ${otlpLimits.resources} resources`);
    },
    record: () => {
      records += 1;
      if (records > otlpLimits.records)
        throw new RangeError(`it has more than ${otlpLimits.records} log records`);
    },
    field: () => {
      fields += 1;
      if (fields > otlpLimits.fields) throw tooManyFields();
    },
  };
}

/** Returns the error for a request that has more than {@link otlpLimits} fields. */
export const tooManyFields = (): RangeError => new RangeError(`it has more than ${otlpLimits.fields} fields`);

/** Adds an attribute. @throws RangeError above {@link otlpLimits} */
export function setAttribute(
  attributes: Map<string, AttributeValue>,
  key: string,
  value: AttributeValue | undefined,
): void {
  if (value === undefined) return;
  attributes.set(key, value);
  if (attributes.size > otlpLimits.attributes)
    throw new RangeError(`a record has more than ${otlpLimits.attributes} attributes`);
}

import { hasManyValues, parseJson } from '../../base/json/index.ts';
import { createCounter, otlpLimits, setAttribute, tooManyFields } from './log-record.ts';
import type { AttributeValue, Counter, LogRecord, ResourceRecords } from './log-record.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Decodes an ExportLogsServiceRequest in JSON (OTLP, "JSON Protobuf Encoding"): names in lowerCamelCase, and
 * 64-bit integers as strings or numbers. Unknown fields are ignored.
 * @throws Error when the text is not such a message, or exceeds the limits of log-record.ts
 */
export function decodeJsonLogs(text: string): readonly ResourceRecords[] {
  if (hasManyValues(text, otlpLimits.fields)) throw tooManyFields();
  const counter = createCounter();
  return list(fields(parseJson(text), 'the request')['resourceLogs'], 'resourceLogs').map((one) => {
    counter.resource();
    return resourceOf(fields(one, 'resourceLogs'), counter);
  });
}

function resourceOf(one: Fields, counter: Counter): ResourceRecords {
  const resource = one['resource'] === undefined ? {} : fields(one['resource'], 'resource');
  const records = list(one['scopeLogs'], 'scopeLogs').flatMap((scope) =>
    list(fields(scope, 'scopeLogs')['logRecords'], 'logRecords').map((record) => {
      counter.record();
      return recordOf(fields(record, 'logRecords'));
    }),
  );
  return { attributes: attributesOf(resource['attributes']), records };
}

function recordOf(record: Fields): LogRecord {
  const time = milliseconds(record['timeUnixNano']);
  const body = record['body'] === undefined ? undefined : valueOf(record['body']);
  return {
    event: text(record['eventName'] ?? '', 'eventName'),
    time: time === 0 ? milliseconds(record['observedTimeUnixNano']) : time,
    attributes: attributesOf(record['attributes']),
    body: typeof body === 'string' ? body : '',
  };
}

function attributesOf(value: unknown): ReadonlyMap<string, AttributeValue> {
  const attributes = new Map<string, AttributeValue>();
  for (const one of list(value, 'attributes')) {
    const pair = fields(one, 'attributes');
    if (pair['value'] !== undefined)
      setAttribute(attributes, text(pair['key'], 'key'), valueOf(pair['value']));
  }
  return attributes;
}

function valueOf(value: unknown): AttributeValue | undefined {
  const { stringValue, boolValue, intValue, doubleValue } = fields(value, 'value');
  if (stringValue !== undefined) return text(stringValue, 'stringValue');
  if (typeof boolValue === 'boolean') return boolValue;
  if (intValue !== undefined) return Number(integer(intValue, 'intValue'));
  return typeof doubleValue === 'number' ? doubleValue : undefined;
}

function fields(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new TypeError(`${name} is not an object`);
  return value as Fields;
}

function list(value: unknown, name: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new TypeError(`${name} is not a list`);
  return value;
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new TypeError(`${name} is not a string`);
  return value;
}

function integer(value: unknown, name: string): bigint {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === 'string' && /^-?[0-9]{1,20}$/u.test(value)) return BigInt(value);
  throw new TypeError(`${name} is not an integer`);
}

/** An int64 in nanoseconds. A number beyond 2^53 has lost only digits below a millisecond. */
function milliseconds(value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value === 'number' && value >= 0) return Math.trunc(value / 1e6);
  return Number(integer(value, 'timeUnixNano') / 1_000_000n);
}

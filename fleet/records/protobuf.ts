import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { createCounter, setAttribute } from './log-record.ts';
import type { AttributeValue, Counter, LogRecord, ResourceRecords } from './log-record.ts';

// opentelemetry-proto 1.9, opentelemetry/proto/logs/v1/logs.proto, common/v1/common.proto and
// collector/logs/v1/logs_service.proto. Only the fields that the aggregator uses are read; values that nest
// are skipped as bytes, so that no message causes recursion in the reader.

type Read = (reader: BinaryReader, field: number, wire: WireType) => boolean;

/** Reads the fields of one message. `read` returns false for a field that it does not know. */
function eachField(bytes: Uint8Array, { field: count }: Counter, read: Read): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    count();
    const [field, wire] = reader.tag();
    // OTLP has no groups. A group can nest without end.
    if (wire === WireType.StartGroup || wire === WireType.EndGroup)
      throw new RangeError('it has a group, which OTLP does not have');
    if (!read(reader, field, wire)) reader.skip(wire, field);
  }
}

const isBytes = (wire: WireType): boolean => wire === WireType.LengthDelimited;

/**
 * Decodes an ExportLogsServiceRequest.
 * @throws Error when the bytes are not such a message, or exceed the limits of log-record.ts
 */
export function decodeLogs(bytes: Uint8Array): readonly ResourceRecords[] {
  return readable(() => logsOf(bytes));
}

/**
 * The library has its own error texts for a field that ends beyond its message, and for a text that is not
 * UTF-8.
 */
function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof Error && /^(?:it|a record) has /u.test(cause.message)) throw cause;
    throw new Error('it is not a message: a field is cut off, or a text is not UTF-8', { cause });
  }
}

function logsOf(bytes: Uint8Array): readonly ResourceRecords[] {
  const resources: ResourceRecords[] = [];
  const counter = createCounter();
  eachField(bytes, counter, (reader, field, wire) => {
    if (field !== 1 || !isBytes(wire)) return false;
    counter.resource();
    resources.push(resourceOf(reader.bytes(), counter));
    return true;
  });
  return resources;
}

function resourceOf(bytes: Uint8Array, counter: Counter): ResourceRecords {
  const attributes = new Map<string, AttributeValue>();
  const records: LogRecord[] = [];
  eachField(bytes, counter, (reader, field, wire) => {
    if (!isBytes(wire) || field > 2) return false;
    const part = reader.bytes();
    if (field === 1) readAttributes(part, counter, attributes);
    else
      eachField(part, counter, (scope, scopeField, scopeWire) => {
        if (scopeField !== 2 || !isBytes(scopeWire)) return false;
        counter.record();
        records.push(recordOf(scope.bytes(), counter));
        return true;
      });
    return true;
  });
  return { attributes, records };
}

function readAttributes(bytes: Uint8Array, counter: Counter, into: Map<string, AttributeValue>): void {
  eachField(bytes, counter, (reader, field, wire) => {
    if (field !== 1 || !isBytes(wire)) return false;
    readPair(reader.bytes(), counter, into);
    return true;
  });
}

function readPair(bytes: Uint8Array, counter: Counter, into: Map<string, AttributeValue>): void {
  let key = '';
  let value: AttributeValue | undefined;
  eachField(bytes, counter, (reader, field, wire) => {
    if (!isBytes(wire) || field > 2) return false;
    if (field === 1) key = reader.string(true);
    else value = valueOf(reader.bytes(), counter);
    return true;
  });
  setAttribute(into, key, value);
}

function valueOf(bytes: Uint8Array, counter: Counter): AttributeValue | undefined {
  let value: AttributeValue | undefined;
  eachField(bytes, counter, (reader, field, wire) => {
    if (field === 1 && isBytes(wire)) value = reader.string(true);
    else if (field === 2 && wire === WireType.Varint) value = reader.bool();
    else if (field === 3 && wire === WireType.Varint) value = Number(reader.int64());
    else if (field === 4 && wire === WireType.Bit64) value = reader.double();
    else return false;
    return true;
  });
  return value;
}

function recordOf(bytes: Uint8Array, counter: Counter): LogRecord {
  const attributes = new Map<string, AttributeValue>();
  let [time, observed, event] = [0, 0, ''];
  let body: AttributeValue | undefined;
  eachField(bytes, counter, (reader, field, wire) => {
    if (field === 1 && wire === WireType.Bit64) time = milliseconds(reader.fixed64());
    else if (field === 11 && wire === WireType.Bit64) observed = milliseconds(reader.fixed64());
    else if (field === 5 && isBytes(wire)) body = valueOf(reader.bytes(), counter);
    else if (field === 6 && isBytes(wire)) readPair(reader.bytes(), counter, attributes);
    else if (field === 12 && isBytes(wire)) event = reader.string(true);
    else return false;
    return true;
  });
  return {
    event,
    time: time === 0 ? observed : time,
    attributes,
    body: typeof body === 'string' ? body : '',
  };
}

const milliseconds = (nanoseconds: bigint | string): number => Number(BigInt(nanoseconds) / 1_000_000n);

/** Encodes an ExportLogsServiceRequest with one resource. */
export function encodeLogs(resource: ResourceRecords): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).fork();
  for (const [key, value] of resource.attributes) writePair(writer, 1, key, value);
  writer.join();
  writer.tag(2, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string('portcullis').join();
  for (const record of resource.records) writeRecord(writer, record);
  return writer.join().join().finish();
}

/** SEVERITY_NUMBER_INFO. */
const severityInfo = 9;

function writeRecord(writer: BinaryWriter, { event, time, attributes, body }: LogRecord): void {
  const nanoseconds = BigInt(Math.trunc(time)) * 1_000_000n;
  writer.tag(2, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.Bit64).fixed64(nanoseconds).tag(11, WireType.Bit64).fixed64(nanoseconds);
  writer.tag(2, WireType.Varint).int32(severityInfo);
  writer.tag(5, WireType.LengthDelimited).fork();
  writeValue(writer, body);
  writer.join();
  for (const [key, value] of attributes) writePair(writer, 6, key, value);
  writer.tag(12, WireType.LengthDelimited).string(event).join();
}

function writePair(writer: BinaryWriter, field: number, key: string, value: AttributeValue): void {
  writer.tag(field, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string(key);
  writer.tag(2, WireType.LengthDelimited).fork();
  writeValue(writer, value);
  writer.join().join();
}

function writeValue(writer: BinaryWriter, value: AttributeValue): void {
  if (typeof value === 'string') writer.tag(1, WireType.LengthDelimited).string(value);
  else if (typeof value === 'boolean') writer.tag(2, WireType.Varint).bool(value);
  else if (Number.isSafeInteger(value)) writer.tag(3, WireType.Varint).int64(value);
  else writer.tag(4, WireType.Bit64).double(value);
}

/** Records that were refused, and why (OTLP, "Partial Success"). */
export interface PartialSuccess {
  readonly rejected: number;
  readonly message: string;
}

/** Encodes an ExportLogsServiceResponse. */
export function encodeLogsResponse({ rejected, message }: PartialSuccess): Uint8Array {
  const writer = new BinaryWriter();
  if (rejected === 0 && message === '') return writer.finish();
  writer.tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.Varint).int64(rejected).tag(2, WireType.LengthDelimited).string(message);
  return writer.join().finish();
}

/** Decodes an ExportLogsServiceResponse. @throws Error when the bytes are not such a message */
export function decodeLogsResponse(bytes: Uint8Array): PartialSuccess {
  return readable(() => responseOf(bytes));
}

function responseOf(bytes: Uint8Array): PartialSuccess {
  let [rejected, message] = [0, ''];
  const counter = createCounter();
  eachField(bytes, counter, (reader, field, wire) => {
    if (field !== 1 || !isBytes(wire)) return false;
    eachField(reader.bytes(), counter, (part, partField, partWire) => {
      if (partField === 1 && partWire === WireType.Varint) rejected = Number(part.int64());
      else if (partField === 2 && isBytes(partWire)) message = part.string(true);
      else return false;
      return true;
    });
    return true;
  });
  return { rejected, message };
}

/** Encodes a google.rpc.Status, the body of a refused OTLP request. @param code of gRPC */
export function encodeStatus(code: number, message: string): Uint8Array {
  const writer = new BinaryWriter();
  return writer.tag(1, WireType.Varint).int32(code).tag(2, WireType.LengthDelimited).string(message).finish();
}

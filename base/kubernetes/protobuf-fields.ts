/**
 * Reads messages of Protocol Buffers (protobuf.dev, "Encoding") as the objects that the same messages are in
 * JSON, with the described fields only. The length of every other field says where it ends, so nothing in it
 * is read. Pure.
 */

/**
 * The type of a field. `texts`: repeated. `port`: a message of k8s.io/apimachinery/pkg/util/intstr, which is
 * a number or a text. `time`: a Timestamp, which becomes a text of RFC 3339. `one` and `all`: a message, and
 * a repeated one. `keys`: a map of texts, of which only the accepted keys are read.
 */
export type FieldType =
  | 'number'
  | 'port'
  | 'text'
  | 'texts'
  | 'time'
  | 'truth'
  | { readonly one: MessageFields }
  | { readonly all: MessageFields }
  | { readonly keys: (key: string) => boolean };

/** The fields of a message that are read: the name of each in JSON, and its type, by its number. */
export type MessageFields = Readonly<Record<number, readonly [name: string, type: FieldType]>>;

/** An object of the API has a thousand endpoints at most, with some twenty fields each. */
const mostFields = 262_144;
const [varint, eightBytes, delimited, fourBytes] = [0, 1, 2, 5];

const portFields: MessageFields = {
  1: ['type', 'number'],
  2: ['intVal', 'number'],
  3: ['strVal', 'text'],
};
const timeFields: MessageFields = { 1: ['seconds', 'number'] };
const entryFields: MessageFields = { 1: ['key', 'text'], 2: ['value', 'text'] };

interface Cursor {
  readonly bytes: Buffer;
  /** One character for each byte, because a part of a text costs less than one of a Buffer. */
  readonly text: string;
  at: number;
  fieldsLeft: number;
}

type Read = Record<string, unknown>;

/**
 * Reads the described fields of a message.
 * @throws RangeError when the bytes are not a message, or have too many fields
 */
export function readMessage(bytes: Buffer, fields: MessageFields): Readonly<Record<string, unknown>> {
  const cursor = { bytes, text: bytes.toString('latin1'), at: 0, fieldsLeft: mostFields };
  return messageUntil(cursor, bytes.length, fields);
}

function messageUntil(cursor: Cursor, end: number, fields: MessageFields): Read {
  const read: Read = {};
  while (cursor.at < end) {
    const tag = numberAt(cursor, end);
    cursor.fieldsLeft -= 1;
    if (cursor.fieldsLeft < 0) throw new RangeError(`the message has more than ${mostFields} fields`);
    const wireType = tag & 7;
    const field = fields[Math.floor(tag / 8)];
    if (wireType !== delimited) {
      const value = wireType === varint ? numberAt(cursor, end) : skipFixed(cursor, wireType, end);
      if (field === undefined || value === undefined) continue;
      if (field[1] === 'number') read[field[0]] = value;
      else if (field[1] === 'truth') read[field[0]] = value !== 0;
      continue;
    }
    const length = numberAt(cursor, end);
    const endOfField = cursor.at + length;
    if (endOfField > end) throw new RangeError('a field ends after its message');
    if (field !== undefined) readDelimited(cursor, endOfField, read, field[0], field[1]);
    cursor.at = endOfField;
  }
  return read;
}

function readDelimited(cursor: Cursor, end: number, read: Read, name: string, type: FieldType): void {
  // JSON leaves out an empty text.
  if (type === 'text') {
    if (end > cursor.at) read[name] = textUntil(cursor, end);
  } else if (type === 'texts') listIn(read, name).push(textUntil(cursor, end));
  else if (type === 'time') {
    const { seconds } = messageUntil(cursor, end, timeFields);
    const date = new Date(Number(seconds ?? NaN) * 1000);
    if (Number.isFinite(date.getTime())) read[name] = date.toISOString();
  } else if (type === 'port') {
    const { type: kind, intVal, strVal } = messageUntil(cursor, end, portFields);
    read[name] = kind === 1 ? strVal : intVal;
  } else if (typeof type === 'string') return;
  else if ('one' in type) read[name] = messageUntil(cursor, end, type.one);
  else if ('all' in type) listIn(read, name).push(messageUntil(cursor, end, type.all));
  else readEntry(cursor, end, read, name, type.keys);
}

function readEntry(
  cursor: Cursor,
  end: number,
  read: Read,
  name: string,
  isRead: (key: string) => boolean,
): void {
  const { key = '', value = '' } = messageUntil(cursor, end, entryFields);
  if (typeof key !== 'string' || !isRead(key)) return;
  // `map.__proto__ = …` would set the prototype instead of a key.
  Object.defineProperty((read[name] ??= {}) as Read, key, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

const listIn = (read: Read, name: string): unknown[] => (read[name] ??= []) as unknown[];

function textUntil({ bytes, text, at }: Cursor, end: number): string {
  for (let each = at; each < end; each += 1)
    if ((bytes[each] ?? 0) > 127) return bytes.toString('utf8', at, end);
  return text.slice(at, end);
}

/** Skips a field of a fixed length. It has no value here. */
function skipFixed(cursor: Cursor, wireType: number, end: number): undefined {
  const length = wireType === eightBytes ? 8 : wireType === fourBytes ? 4 : undefined;
  if (length === undefined) throw new RangeError(`a field has the wire type ${wireType}`);
  cursor.at += length;
  if (cursor.at > end) throw new RangeError('a field ends after its message');
  return undefined;
}

/** A varint of this many bytes may be the two's complement of a negative number, in 64 bits. */
const mostVarintBytes = 10;

/** Reads a varint. A number that is not exact is too large for any field that is read. */
function numberAt(cursor: Cursor, end: number): number {
  const { bytes } = cursor;
  // Nearly every number has one byte.
  const first = cursor.at < end ? (bytes[cursor.at] ?? 0) : 128;
  if (first < 128) {
    cursor.at += 1;
    return first;
  }
  const found = varintAt(bytes, cursor.at, end);
  if (found === undefined) throw new RangeError('a number of a message has no end');
  const isLong = found.end - cursor.at === mostVarintBytes;
  const value = isLong ? signedAt(bytes, cursor.at) : found.value;
  cursor.at = found.end;
  return value;
}

function signedAt(bytes: Buffer, from: number): number {
  let value = 0n;
  for (let at = mostVarintBytes - 1; at >= 0; at -= 1)
    value = (value << 7n) | BigInt((bytes[from + at] ?? 0) & 127);
  return Number(BigInt.asIntN(64, value));
}

/**
 * Returns a varint, and where it ends. Undefined: its end has not arrived.
 * @throws RangeError when it is longer than 64 bits
 */
export function varintAt(
  bytes: Buffer,
  from: number,
  end = bytes.length,
): { readonly value: number; readonly end: number } | undefined {
  let [value, factor] = [0, 1];
  for (let at = from; at < end; at += 1, factor *= 128) {
    if (at - from === mostVarintBytes) throw new RangeError('a number has more than 64 bits');
    const byte = bytes[at] ?? 0;
    value += (byte & 127) * factor;
    if (byte < 128) return { value, end: at + 1 };
  }
  return undefined;
}

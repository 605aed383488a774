/**
 * A value of a message: integers are bigints, lists are arrays, and messages are objects with their fields.
 */
export type Value = bigint | string | Uint8Array | Message | readonly Value[];
export interface Message {
  readonly [field: string]: Value | undefined;
}

/** The fields of a message: `NUMBER[?] [repeated ]TYPE`, where `?` says that the field may be absent. */
export type Fields = Readonly<Record<string, string>>;
/** Messages by name. TYPE is `u32`, `u64`, `bool`, `string`, `bytes` or one of these names. */
export type Messages = Readonly<Record<string, Fields>>;

interface Slot {
  readonly name: string;
  readonly type: string;
  readonly repeated: boolean;
  readonly optional: boolean;
}

/** Why bytes are refused. The text names the message and the field. */
export class BadImage extends Error {}

const deepest = 16;
const mostBits: Readonly<Record<string, bigint>> = { bool: 1n, u32: 32n, u64: 64n };
const decoder = new TextDecoder('utf-8', { fatal: true });

/**
 * Creates a reader of proto2 messages for hostile bytes that another program will read as well, so that both
 * see the same: a field that is unknown, occurs twice, is missing, has another wire type or a number that is
 * longer than its type is refused (protobuf.dev, "Encoding").
 * @param mostFields the maximum number of fields of a message, including the messages in it
 */
export function createStrictReader(
  messages: Messages,
  mostFields: number,
): (name: string, bytes: Uint8Array) => Message {
  const shapes = new Map(Object.entries(messages).map(([name, fields]) => [name, slotsOf(name, fields)]));
  return (name, bytes) => readMessage({ shapes, left: mostFields }, name, bytes, 0);
}

function slotsOf(message: string, fields: Fields): ReadonlyMap<number, Slot> {
  return new Map(
    Object.entries(fields).map(([name, text]) => {
      const match = /^(\d+)(\?)? (repeated )?(\w+)$/.exec(text);
      if (match === null) throw new Error(`${message}.${name}: unreadable field "${text}"`);
      const [, number, optional, repeated, type = ''] = match;
      const slot = { name, type, repeated: repeated !== undefined, optional: optional !== undefined };
      return [Number(number), slot];
    }),
  );
}

interface Reading {
  readonly shapes: ReadonlyMap<string, ReadonlyMap<number, Slot>>;
  left: number;
}

function readMessage(reading: Reading, name: string, bytes: Uint8Array, depth: number): Message {
  const slots = reading.shapes.get(name);
  if (slots === undefined) throw new Error(`no message ${name}`);
  if (depth > deepest) throw new BadImage(`${name}: messages are nested too deeply`);
  const values = new Map<string, Value | Value[]>();
  const cursor = { bytes, at: 0 };
  while (cursor.at < bytes.length) {
    const tag = readVarint(cursor, 32n);
    const slot = slots.get(Number(tag >> 3n));
    if (slot === undefined) throw new BadImage(`${name}: unknown field ${tag >> 3n}`);
    const isNumber = mostBits[slot.type] !== undefined;
    const wire = Number(tag & 7n);
    const at = `${name}.${slot.name}`;
    if (isNumber && wire === 2 && slot.repeated) {
      const packed = { bytes: readChunk(cursor, at), at: 0 };
      while (packed.at < packed.bytes.length) add(reading, values, slot, at, readNumber(packed, slot, at));
    } else if (wire !== (isNumber ? 0 : 2)) throw new BadImage(`${at}: wire type ${wire}`);
    else if (isNumber) add(reading, values, slot, at, readNumber(cursor, slot, at));
    else add(reading, values, slot, at, valueOf(reading, slot, at, readChunk(cursor, at), depth));
  }
  for (const { name: field, optional, repeated } of slots.values()) {
    if (values.has(field)) continue;
    if (repeated) values.set(field, []);
    else if (!optional) throw new BadImage(`${name}: no ${field}`);
  }
  // A null prototype: a field name is never one of Object's.
  return Object.assign(Object.create(null) as object, Object.fromEntries(values));
}

function add(
  reading: Reading,
  values: Map<string, Value | Value[]>,
  { name, repeated }: Slot,
  at: string,
  value: Value,
): void {
  if ((reading.left -= 1) < 0) throw new BadImage(`${at}: too many fields`);
  const present = values.get(name);
  if (!repeated) {
    if (present !== undefined) throw new BadImage(`${at}: the field occurs twice`);
    values.set(name, value);
  } else if (Array.isArray(present)) present.push(value);
  else values.set(name, [value]);
}

function valueOf(reading: Reading, slot: Slot, at: string, chunk: Uint8Array, depth: number): Value {
  if (slot.type === 'bytes') return chunk;
  if (slot.type !== 'string') return readMessage(reading, slot.type, chunk, depth + 1);
  // A reader in C stops at the zero byte.
  if (chunk.includes(0)) throw new BadImage(`${at}: a text with a zero`);
  try {
    return decoder.decode(chunk);
  } catch {
    throw new BadImage(`${at}: a text that is not UTF-8`);
  }
}

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

function readNumber(cursor: Cursor, { type }: Slot, at: string): bigint {
  const value = readVarint(cursor, 64n);
  if (value >> (mostBits[type] ?? 0n) !== 0n) throw new BadImage(`${at}: the number is too large`);
  return value;
}

/** Reads a number in its shortest form. */
function readVarint(cursor: Cursor, bits: bigint): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = cursor.bytes[cursor.at];
    if (byte === undefined) throw new BadImage('a number is cut off');
    cursor.at += 1;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if ((byte === 0 && shift > 0n) || value >> bits !== 0n)
      throw new BadImage('a number is not in its shortest form, or too large');
    return value;
  }
  throw new BadImage('a number has no end');
}

function readChunk(cursor: Cursor, at: string): Uint8Array {
  const length = readVarint(cursor, 32n);
  const end = cursor.at + Number(length);
  if (end > cursor.bytes.length) throw new BadImage(`${at}: cut off`);
  const chunk = cursor.bytes.subarray(cursor.at, end);
  cursor.at = end;
  return chunk;
}

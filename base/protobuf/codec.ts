import protobuf from 'protobufjs/minimal.js';
import type { Contract, Field } from './declaration.ts';
import type { Init } from './init.ts';
import { valueCodec, readString } from './values.ts';
import type { ReadValue, WriteValue } from './values.ts';

/** Encodes and decodes one message type (protobuf encoding, proto3). */
export interface MessageCodec<T> {
  /** Leaves out default values. Throws PROTOBUF_BAD_FIELD for a value that does not fit its field. */
  encode(value: Init<T>): Buffer;
  /**
   * Returns plain objects. Absent scalars, lists and maps get their default; absent messages stay absent.
   * Skips unknown fields.
   */
  decode(bytes: Uint8Array): T;
}

export interface CodecOptions {
  /**
   * Fields that a message may have, with those of the messages in it; elements of lists count. Decoding a
   * message with more throws RangeError. Default: any number.
   */
  readonly mostFields?: number;
}

interface Budget {
  fieldsLeft: number;
}

type Message = Record<string, unknown>;

interface Slot {
  readonly field: Field;
  readonly tag: number;
  readonly wireType: number;
  readonly write: WriteValue;
  readonly read: ReadValue;
  /** The scalars of a repeated field are encoded as one length-delimited value. */
  readonly packed: boolean;
  readonly isDefault: (value: unknown) => boolean;
}

interface MessageShape {
  readonly name: string;
  readonly slots: readonly Slot[];
  readonly byId: readonly (Slot | undefined)[];
  readonly empty: () => Message;
}

/**
 * Builds codecs for the messages of a contract, each on first use.
 * Source: protobuf.dev, "Encoding" (wire types, packed fields, maps as entries, last value wins, messages
 * merge).
 */
export function createCodecs(
  contract: Contract,
  { mostFields = Infinity }: CodecOptions = {},
): <T>(message: string) => MessageCodec<T> {
  const shapes = new Map<string, MessageShape>();
  const shapeOf = (name: string): MessageShape => {
    const known = shapes.get(name);
    if (known !== undefined) return known;
    const fields = contract.messages.get(name);
    if (fields === undefined) throw new Error(`no message ${name} in ${contract.package}`);
    const shape = makeShape(name, fields, messageValue);
    shapes.set(name, shape);
    return shape;
  };
  const messageValue = (name: string): { write: WriteValue; read: ReadValue } => {
    let shape: MessageShape | undefined;
    return {
      write: (writer, value, at) => {
        shape ??= shapeOf(name);
        writer.fork();
        encodeInto(writer, shape, value, at);
        writer.ldelim();
      },
      read: (reader, existing) => {
        shape ??= shapeOf(name);
        return decodeInto(reader, shape, reader.uint32() + reader.pos, existing as Message | undefined);
      },
    };
  };
  return <T>(message: string): MessageCodec<T> => {
    let shape: MessageShape | undefined;
    return {
      encode: (value) => {
        const writer = protobuf.Writer.create();
        encodeInto(writer, (shape ??= shapeOf(message)), value, message);
        return writer.finish() as Buffer;
      },
      decode: (bytes) => {
        const reader = Object.assign(protobuf.Reader.create(bytes), { fieldsLeft: mostFields });
        return decodeInto(reader, (shape ??= shapeOf(message)), reader.len, undefined) as T;
      },
    };
  };
}

function makeShape(
  name: string,
  fields: readonly Field[],
  message: (name: string) => { write: WriteValue; read: ReadValue },
): MessageShape {
  const slots = fields.map((field): Slot => {
    const value = valueCodec(field.type, message);
    const packed = field.repeated && value.packable;
    const wireType = packed ? 2 : value.wireType;
    return {
      field,
      tag: ((field.id << 3) | wireType) >>> 0,
      wireType: value.wireType,
      write: value.write,
      read: value.read,
      packed,
      isDefault: value.isDefault,
    };
  });
  const byId: (Slot | undefined)[] = [];
  for (const slot of slots) byId[slot.field.id] = slot;
  const scalars: Message = {};
  const lists: string[] = [];
  const maps: string[] = [];
  for (const { field } of slots) {
    if (field.repeated) lists.push(field.name);
    else if (field.type.kind === 'map') maps.push(field.name);
    else if (field.type.kind !== 'message') scalars[field.name] = valueCodec(field.type, message).default;
  }
  const empty = (): Message => {
    const made = { ...scalars };
    for (const list of lists) made[list] = [];
    for (const map of maps) made[map] = {};
    return made;
  };
  return { name, slots, byId, empty };
}

function encodeInto(writer: protobuf.Writer, shape: MessageShape, value: unknown, at: string): void {
  const message = value as Message;
  for (const slot of shape.slots) {
    const given = message[slot.field.name];
    if (given === undefined || given === null) continue;
    if (slot.field.repeated) writeList(writer, slot, given as readonly unknown[], `${at}.${slot.field.name}`);
    else if (slot.field.type.kind === 'map')
      writeMap(writer, slot, given as Message, `${at}.${slot.field.name}`);
    else if (!slot.isDefault(given)) slot.write(writer.uint32(slot.tag), given, `${at}.${slot.field.name}`);
  }
}

function writeList(writer: protobuf.Writer, slot: Slot, list: readonly unknown[], at: string): void {
  if (list.length === 0) return;
  if (!slot.packed) {
    for (const item of list) slot.write(writer.uint32(slot.tag), item, at);
    return;
  }
  writer.uint32(slot.tag).fork();
  for (const item of list) slot.write(writer, item, at);
  writer.ldelim();
}

/** A map entry is a message with key 1 and value 2. */
function writeMap(writer: protobuf.Writer, slot: Slot, map: Message, at: string): void {
  for (const [key, item] of Object.entries(map)) {
    if (item === undefined) continue;
    writer.uint32(slot.tag).fork();
    writer.uint32((1 << 3) | 2).string(key);
    slot.write(writer.uint32(((2 << 3) | slot.wireType) >>> 0), item, `${at}[${key}]`);
    writer.ldelim();
  }
}

/** Throws RangeError for a message with more fields than its codec allows. */
function countField(reader: protobuf.Reader & Partial<Budget>): void {
  if (reader.fieldsLeft !== undefined && (reader.fieldsLeft -= 1) < 0)
    throw new RangeError('the message has too many fields');
}

function decodeInto(
  reader: protobuf.Reader,
  shape: MessageShape,
  end: number,
  existing: Message | undefined,
): Message {
  if (end > reader.len) throw new RangeError(`${shape.name}: a field ends after its message`);
  const message = existing ?? shape.empty();
  while (reader.pos < end) {
    countField(reader);
    // Not uint32(), which drops bits: another parser may take a longer tag for another field.
    const tag = reader.tag();
    const slot = shape.byId[tag >>> 3];
    const wireType = tag & 7;
    if (slot === undefined) reader.skipType(wireType);
    else if (slot.field.type.kind === 'map' && wireType === 2)
      readMapEntry(reader, slot, message[slot.field.name] as Message);
    else if (slot.field.repeated && wireType === 2 && slot.packed)
      readPacked(reader, slot, message[slot.field.name] as unknown[]);
    else if (wireType !== slot.wireType) reader.skipType(wireType);
    else if (slot.field.repeated) (message[slot.field.name] as unknown[]).push(slot.read(reader, undefined));
    else message[slot.field.name] = slot.read(reader, message[slot.field.name]);
  }
  if (reader.pos !== end) throw new RangeError(`${shape.name}: a field ends after its message`);
  return message;
}

function readPacked(reader: protobuf.Reader, slot: Slot, list: unknown[]): void {
  const end = reader.uint32() + reader.pos;
  if (end > reader.len) throw new RangeError(`${slot.field.name}: the list ends after its message`);
  while (reader.pos < end) {
    countField(reader);
    list.push(slot.read(reader, undefined));
  }
}

function readMapEntry(reader: protobuf.Reader, slot: Slot, map: Message): void {
  const end = reader.uint32() + reader.pos;
  if (end > reader.len) throw new RangeError(`${slot.field.name}: the entry ends after its message`);
  let key = '';
  let value: unknown = '';
  while (reader.pos < end) {
    const tag = reader.tag();
    if (tag === ((1 << 3) | 2)) key = readString(reader);
    else if (tag >>> 3 === 2 && (tag & 7) === slot.wireType) value = slot.read(reader, undefined);
    else reader.skipType(tag & 7);
  }
  // `map.__proto__ = …` would set the prototype instead of a key.
  Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true });
}

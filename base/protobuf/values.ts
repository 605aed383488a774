import { isUtf8 } from 'node:buffer';
import type protobuf from 'protobufjs/minimal.js';
import { PortcullisError } from '../errors/index.ts';
import type { FieldType, ScalarType } from './declaration.ts';

export type WriteValue = (writer: protobuf.Writer, value: unknown, at: string) => void;
/**
 * Reads a value. `existing` is the current value of the field: messages are merged, all other values are
 * replaced.
 */
export type ReadValue = (reader: protobuf.Reader, existing: unknown) => unknown;

/** Writes and reads one value of a field type. */
export interface ValueCodec {
  readonly wireType: 0 | 1 | 2;
  readonly packable: boolean;
  readonly default: unknown;
  readonly isDefault: (value: unknown) => boolean;
  readonly write: WriteValue;
  readonly read: ReadValue;
}

export function valueCodec(
  type: FieldType,
  message: (name: string) => { write: WriteValue; read: ReadValue },
): ValueCodec {
  switch (type.kind) {
    case 'scalar':
      return scalars[type.scalar];
    case 'enum':
      return scalars.int32;
    case 'message':
      return {
        wireType: 2,
        packable: false,
        default: undefined,
        isDefault: () => false,
        ...message(type.name),
      };
    case 'map':
      return valueCodec(type.value, message);
  }
}

const maxInt64 = 2n ** 63n - 1n;
const maxUint64 = 2n ** 64n - 1n;

const isZero = (value: unknown): boolean => value === 0;

/**
 * Reads a string as it was sent. proto3 strings are UTF-8. No field of the contract needs a NUL, and code
 * that passes a string with a NUL to the kernel would pass a different string than the one that was checked.
 * @throws RangeError
 */
export function readString(reader: protobuf.Reader): string {
  const bytes = reader.bytes();
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  if (text.includes('\0')) throw new RangeError('a string contains a NUL byte');
  if (text.includes('\uFFFD') && !isUtf8(bytes)) throw new RangeError('a string is not UTF-8');
  return text;
}

const scalars: Readonly<Record<ScalarType, ValueCodec>> = {
  string: {
    wireType: 2,
    packable: false,
    default: '',
    isDefault: (value) => value === '',
    write: (writer, value, at) => {
      if (typeof value !== 'string') throw badField(at, value, 'a string');
      writer.string(value);
    },
    read: readString,
  },
  bytes: {
    wireType: 2,
    packable: false,
    default: Buffer.alloc(0),
    isDefault: (value) => value instanceof Uint8Array && value.length === 0,
    write: (writer, value, at) => {
      if (!(value instanceof Uint8Array)) throw badField(at, value, 'bytes');
      writer.bytes(value);
    },
    // A copy, because the reader's slice would keep the whole message alive.
    read: (reader) => Buffer.from(reader.bytes()),
  },
  bool: {
    wireType: 0,
    packable: true,
    default: false,
    isDefault: (value) => value === false,
    write: (writer, value, at) => {
      if (typeof value !== 'boolean') throw badField(at, value, 'a boolean');
      writer.bool(value);
    },
    read: (reader) => reader.bool(),
  },
  int32: {
    wireType: 0,
    packable: true,
    default: 0,
    isDefault: isZero,
    write: (writer, value, at) => writer.int32(integer(at, value, -0x8000_0000, 0x7fff_ffff)),
    read: (reader) => reader.int32(),
  },
  uint32: {
    wireType: 0,
    packable: true,
    default: 0,
    isDefault: isZero,
    write: (writer, value, at) => writer.uint32(integer(at, value, 0, 0xffff_ffff)),
    read: (reader) => reader.uint32(),
  },
  int64: {
    wireType: 0,
    packable: true,
    default: 0,
    isDefault: isZero,
    write: (writer, value, at) => writer.int64(bits(integer(at, value, -(2 ** 63), 2 ** 63), maxInt64)),
    read: (reader) => toNumber(reader.int64()),
  },
  uint64: {
    wireType: 0,
    packable: true,
    default: 0,
    isDefault: isZero,
    write: (writer, value, at) => writer.uint64(bits(integer(at, value, 0, 2 ** 64), maxUint64)),
    read: (reader) => toNumber(reader.uint64()),
  },
  nanoseconds: {
    wireType: 0,
    packable: true,
    default: 0n,
    isDefault: (value) => value === 0n || value === 0 || value === '0',
    write: (writer, value, at) => writer.int64(bits(nanoseconds(at, value), maxInt64)),
    read: (reader) => toBigInt(reader.int64()),
  },
  double: {
    wireType: 1,
    packable: true,
    default: 0,
    isDefault: (value) => Object.is(value, 0),
    write: (writer, value, at) => {
      if (typeof value !== 'number') throw badField(at, value, 'a number');
      writer.double(value);
    },
    read: (reader) => reader.double(),
  },
};

function integer(at: string, value: unknown, low: number, high: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high)
    throw badField(at, value, `an integer from ${low} to ${high}`);
  return value;
}

function nanoseconds(at: string, value: unknown): bigint | number {
  if (typeof value === 'bigint' && value === BigInt.asIntN(64, value)) return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  if (typeof value === 'string' && /^-?\d{1,19}$/.test(value)) return nanoseconds(at, BigInt(value));
  throw badField(at, value, 'nanoseconds as a bigint, a safe integer or a decimal string');
}

type Int64 = Parameters<protobuf.Writer['int64']>[0];

/**
 * Returns a 64-bit integer in the form of the writer. A number beyond 2^53 was rounded when it was read, so
 * "no limit" (2^63 - 1) arrives here as 2^63 and is reduced to `max`.
 */
function bits(value: number | bigint, max: bigint): Int64 {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  const exact = BigInt(value) > max ? max : BigInt(value);
  const halves = {
    low: Number(BigInt.asIntN(32, exact)),
    high: Number(BigInt.asIntN(32, exact >> 32n)),
    unsigned: max === maxUint64,
  };
  // The writer reads only the two halves of a Long.
  return halves;
}

type DecodedInt64 = number | { readonly low: number; readonly high: number; readonly unsigned: boolean };

/** Returns the nearest number if the value is beyond 2^53. */
function toNumber(value: DecodedInt64): number {
  if (typeof value === 'number') return value;
  return (value.unsigned ? value.high >>> 0 : value.high) * 2 ** 32 + (value.low >>> 0);
}

function toBigInt(value: DecodedInt64): bigint {
  if (typeof value === 'number') return BigInt(value);
  return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0);
}

function badField(at: string, value: unknown, wanted: string): PortcullisError<'PROTOBUF_BAD_FIELD'> {
  // The error does not contain the value, which may be a secret.
  return new PortcullisError({
    code: 'PROTOBUF_BAD_FIELD',
    kind: 'internal',
    attempted: 'encode',
    on: at,
    why: `the value is ${describe(value)}, not ${wanted}`,
    fix: 'report this as a defect of Portcullis',
  });
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  return typeof value === 'number' ? `the number ${value}` : `of type ${typeof value}`;
}

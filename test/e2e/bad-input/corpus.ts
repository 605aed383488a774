import type { Field, FieldType } from '../../../base/protobuf/index.ts';
import { criContract } from '../../../runtime/cri/contract/services.ts';

/** One request of the corpus: a description of its defect, and its fields. */
export interface BadRequest {
  readonly what: string;
  readonly request: object;
}

type Fields = Readonly<Record<string, unknown>>;

const unknownId = 'f0'.repeat(32);

/** Strings that are not valid in any CRI field, or only in a few. */
const strings: readonly string[] = [
  '',
  ' ',
  '..',
  '../../../pc-bad-input',
  '/../../pc-bad-input',
  '/proc/self/fd/3',
  'a\0b',
  'a\nroot:x:0:0',
  '\u001b[31mred',
  '\u202egnp.exe',
  'ünïcödé 💥',
  '%s%n%x',
  '-rf',
  '9223372036854775808',
  unknownId,
  'x'.repeat(300),
  `/${'y'.repeat(5000)}`,
  'z'.repeat(100_000),
];
const numbers: readonly number[] = [0, -1, 1, 2 ** 31 - 1, -(2 ** 31)];
const largeNumbers: readonly number[] = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];

function valuesOf(type: FieldType, depth: number): readonly unknown[] {
  switch (type.kind) {
    case 'scalar':
      switch (type.scalar) {
        case 'string':
          return strings;
        case 'bytes':
          return [new Uint8Array(0), new Uint8Array([0xff, 0xfe]), new Uint8Array(100_000)];
        case 'bool':
          return [true, false];
        case 'double':
          return [Number.NaN, Number.POSITIVE_INFINITY, -1];
        case 'nanoseconds':
          return [0n, -1n, 2n ** 62n];
        case 'uint32':
        case 'uint64':
          return numbers.filter((value) => value >= 0);
        case 'int64':
          return [...numbers, ...largeNumbers];
        case 'int32':
          return numbers;
      }
      break;
    case 'enum':
      return [-1, 99, 2 ** 31 - 1, ...Object.values(criContract.enums.get(type.name) ?? {}).slice(0, 6)];
    case 'message':
      return depth > 5 ? [] : [{}, ...messageValues(type.name, depth)];
    case 'map':
      return [
        ...valuesOf(type.value, depth + 1)
          .slice(0, 8)
          .map((value) => ({ key: value })),
        ...strings.slice(0, 12).map((key) => ({ [key]: type.value.kind === 'scalar' ? 'v' : {} })),
        Object.fromEntries(
          Array.from({ length: 2_000 }, (_, index) => [
            `key-${index}`,
            type.value.kind === 'scalar' ? 'v' : {},
          ]),
        ),
      ];
  }
  return [];
}

/** Returns a message with one field set, for each field and each of its bad values. */
function messageValues(name: string, depth: number): readonly object[] {
  return (criContract.messages.get(name) ?? []).flatMap((field) =>
    fieldValues(field, depth + 1).map((value) => ({ [field.name]: value })),
  );
}

function fieldValues(field: Field, depth: number): readonly unknown[] {
  const values = valuesOf(field.type, depth);
  if (!field.repeated) return values;
  const [first] = values;
  return [...values.map((value) => [value]), [], Array.from({ length: 3_000 }, () => first)];
}

/**
 * Returns every request that differs from `good` in one field: the field omitted, or one of its bad values,
 * at every depth that `good` fills.
 * @param message the name of the request in the CRI protocol
 */
export function* corpusOf(message: string, good: Fields, path = ''): Generator<BadRequest> {
  if (path === '') yield { what: 'nothing at all', request: {} };
  for (const field of criContract.messages.get(message) ?? []) {
    const key = field.name;
    const at = path === '' ? key : `${path}.${key}`;
    const { [key]: existing, ...without } = good;
    if (existing !== undefined) yield { what: `without ${at}`, request: without };
    const single = field.type.kind === 'message' && !field.repeated ? field.type.name : undefined;
    if (single !== undefined && existing !== undefined) {
      for (const { what, request } of corpusOf(single, existing as Fields, at))
        yield { what, request: { ...good, [key]: request } };
      continue;
    }
    for (const value of fieldValues(field, path.split('.').length))
      yield { what: `${at}: ${reported(value)}`, request: { ...good, [key]: value } };
  }
}

function reported(value: unknown): string {
  const text =
    JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? one.toString() : one)) ??
    'undefined';
  return text.length > 60 ? `${text.slice(0, 60)}… (${text.length})` : text;
}

/** Bytes that are not a message, or a message with fields that the CRI protocol does not define. */
export function rawBodies(
  good: Uint8Array,
): readonly { readonly what: string; readonly bytes: Uint8Array }[] {
  return [
    {
      what: 'unknown fields',
      bytes: Buffer.concat([good, Buffer.from([0xf8, 0xff, 0x01, 0x01, 0xfa, 0xff, 0x01, 0x02, 0x68, 0x69])]),
    },
    { what: 'a truncated message', bytes: Buffer.concat([good, Buffer.from([0x0a, 0x7f])]) },
    {
      what: 'a length of 2^63',
      bytes: Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
    },
    {
      what: 'a string that is not UTF-8',
      bytes: Buffer.concat([good, Buffer.from([0x0a, 0x03, 0xff, 0xfe, 0xfd])]),
    },
    { what: 'an endless varint', bytes: Buffer.alloc(64, 0xff) },
    { what: 'a group, which proto3 does not have', bytes: Buffer.from([0x0b, 0x0b, 0x0b, 0x0c]) },
    { what: 'deep nesting', bytes: nested(2_000) },
    {
      what: 'random bytes',
      bytes: Buffer.from(Array.from({ length: 4_096 }, (_, index) => (index * 7919 + 31) % 256)),
    },
  ];
}

function nested(depth: number): Uint8Array {
  let bytes = Buffer.alloc(0);
  for (let level = 0; level < depth; level += 1) {
    const length: number[] = [];
    let left = bytes.length;
    do {
      length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
      left >>>= 7;
    } while (left > 0);
    bytes = Buffer.concat([Buffer.from([0x0a, ...length]), bytes]);
  }
  return bytes;
}

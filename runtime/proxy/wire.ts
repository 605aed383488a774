import protobuf from 'protobufjs/minimal.js';
import { criCodec, criContract } from '../cri/contract/services.ts';

/** A change of one field of a message. */
export type FieldEdit =
  /** Replaces the field by this value, in the form of the codec; a default value removes it. */
  | { readonly set: string | boolean | number | object | undefined }
  /** Changes the one message of the field; it is created if it is absent. */
  | { readonly into: MessageEdits }
  /** Changes each message of a repeated field. */
  | { readonly each: (message: Buffer, index: number) => Buffer };

/** Changes of fields by their names in the contract. */
export interface MessageEdits {
  /** The name of the message in the contract. */
  readonly message: string;
  readonly fields: Readonly<Record<string, FieldEdit>>;
}

interface WireField {
  readonly id: number;
  readonly start: number;
  readonly end: number;
  /** Where the content of a length-delimited field begins. */
  readonly content?: number;
}

/**
 * Changes fields of an encoded message. Every other byte stays: fields that this version does not know keep
 * their values, their encoding and their order. A message that occurs several times is merged first, as
 * parsers do (protobuf.dev, "Encoding": embedded messages merge, repeated fields concatenate).
 * @throws RangeError for bytes that are not a message; Error for a field that the contract does not have
 */
export function editMessage(bytes: Uint8Array, { message, fields }: MessageEdits): Buffer {
  const edits = new Map(Object.entries(fields).map(([name, edit]) => [idOf(message, name), { name, edit }]));
  const parts: Uint8Array[] = [];
  /** The contents of messages that are changed, and the place of the first one among the parts. */
  const merged = new Map<number, { readonly at: number; readonly contents: Uint8Array[] }>();
  const counts = new Map<number, number>();
  // Fields that stay are one part for all between two changes: a message may have millions of them.
  let kept = 0;
  for (const { id, start, end, content } of wireFields(bytes)) {
    const wanted = edits.get(id);
    if (wanted === undefined) continue;
    if (start > kept) parts.push(bytes.subarray(kept, start));
    kept = end;
    const { edit } = wanted;
    if ('set' in edit) continue;
    if (content === undefined) throw new RangeError(`${message}.${wanted.name} is not a message`);
    const payload = bytes.subarray(content, end);
    if ('each' in edit) {
      const index = counts.get(id) ?? 0;
      counts.set(id, index + 1);
      parts.push(delimited(id, edit.each(asBuffer(payload), index)));
      continue;
    }
    const first = merged.get(id);
    if (first === undefined) merged.set(id, { at: parts.push(payload) - 1, contents: [payload] });
    else first.contents.push(payload);
  }
  if (kept < bytes.length) parts.push(bytes.subarray(kept));
  for (const [id, { name, edit }] of edits) {
    if ('set' in edit)
      parts.push(criCodec<Readonly<Record<string, string>>>(message).encode({ [name]: edit.set as string }));
    else if ('into' in edit) {
      const { at, contents } = merged.get(id) ?? { at: parts.length, contents: [] };
      parts[at] = delimited(id, editMessage(Buffer.concat(contents), edit.into));
    }
  }
  return Buffer.concat(parts);
}

/** Yields the fields of a message, in order. @throws RangeError */
function* wireFields(bytes: Uint8Array): Generator<WireField, void, undefined> {
  const reader = protobuf.Reader.create(bytes);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = tagOf(reader);
    const [id, wireType] = [tag >>> 3, tag & 7];
    if (id === 0) throw new RangeError('a field has the number 0');
    let content: number | undefined;
    try {
      if (wireType === 2) {
        const length = reader.size();
        content = reader.pos;
        reader.skip(length);
      } else reader.skipType(wireType);
    } catch (thrown) {
      throw new RangeError(`a field of wire type ${wireType} cannot be read`, { cause: thrown });
    }
    yield { id, start, end: reader.pos, ...(content !== undefined && { content }) };
  }
}

/** @throws RangeError for a tag of more than 32 bits: other parsers differ in the field that it means */
function tagOf(reader: protobuf.Reader): number {
  try {
    return reader.tag();
  } catch (cause) {
    throw new RangeError('a tag cannot be read', { cause });
  }
}

function delimited(id: number, payload: Uint8Array): Uint8Array {
  return protobuf.Writer.create()
    .uint32(((id << 3) | 2) >>> 0)
    .bytes(payload)
    .finish();
}

function idOf(message: string, name: string): number {
  const field = criContract.messages.get(message)?.find((one) => one.name === name);
  if (field === undefined) throw new Error(`no field ${message}.${name}`);
  return field.id;
}

/** Returns the same bytes, not a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

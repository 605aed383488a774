import type { Contract, Field } from '../../../base/protobuf/index.ts';

/** Fields of an encoded message that the contract does not have, as paths such as `adjust.linux.13`. */
export function unknownFields(contract: Contract, message: string, bytes: Uint8Array): readonly string[] {
  const found: string[] = [];
  walk({ contract, found, known: new Map() }, message, bytes, '');
  return found;
}

/** Enough to name the cause. */
const mostFound = 8;
/** Deeper than any message of the contract. */
const mostDepth = 16;

interface Search {
  readonly contract: Contract;
  readonly found: string[];
  /** The fields of the messages that were seen, by their numbers. */
  readonly known: Map<string, ReadonlyMap<number, Field>>;
}

function fieldsOf({ contract, known }: Search, message: string): ReadonlyMap<number, Field> {
  const seen = known.get(message);
  if (seen !== undefined) return seen;
  const fields = new Map((contract.messages.get(message) ?? []).map((field) => [field.id, field]));
  known.set(message, fields);
  return fields;
}

/** Walks the fields of one message that a codec has decoded: its encoding is known to be valid. */
function walk(search: Search, message: string, bytes: Uint8Array, at: string, depth = 0): void {
  const fields = fieldsOf(search, message);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let position = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; position < bytes.length; factor *= 128) {
      const byte = view.getUint8(position++);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (position < bytes.length && search.found.length < mostFound) {
    const tag = varint();
    const [id, wireType] = [Math.floor(tag / 8), tag % 8];
    const length = wireType === 2 ? varint() : wireType === 1 ? 8 : wireType === 5 ? 4 : 0;
    if (wireType === 0) varint();
    const value = bytes.subarray(position, position + length);
    position += length;
    const field = fields.get(id);
    if (field === undefined) search.found.push(`${at}${id}`);
    else if (wireType === 2 && depth < mostDepth) inside(search, field, value, `${at}${field.name}.`, depth);
  }
}

/** A map entry is a message whose field 2 is the value. */
function inside(search: Search, { type }: Field, value: Uint8Array, at: string, depth: number): void {
  if (type.kind === 'message') walk(search, type.name, value, at, depth + 1);
}

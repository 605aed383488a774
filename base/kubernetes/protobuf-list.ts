import { readMessage, varintAt } from './protobuf-fields.ts';
import type { MessageFields } from './protobuf-fields.ts';

/**
 * Splits a list in the API's encoding of Protocol Buffers into its items as it arrives, so that a list of any
 * length needs the memory of one item (Kubernetes API concepts, "Protobuf encoding"): four bytes, then a
 * message `Unknown` (k8s.io/apimachinery/pkg/runtime), which contains the list. Pure.
 */
export interface ProtobufListSplitter {
  /** Returns the items that end in the chunk. @throws Error for an item that is too large */
  take(chunk: Buffer): Buffer[];
  /** Returns the list without its items, as in JSON. @throws Error when the answer is not complete */
  end(): unknown;
}

export const protobufType = 'application/vnd.kubernetes.protobuf';
const magic = Buffer.from('k8s\0', 'latin1');

const metadataFields: MessageFields = { 2: ['resourceVersion', 'text'], 3: ['continue', 'text'] };
/** Fields of `Unknown`. */
const [rawField, encodingField] = [2, 3];
const statusFields: MessageFields = { [rawField]: ['status', { one: { 3: ['message', 'text'] } }] };
/** Fields of every list. */
const [metadataField, itemsField] = [1, 2];
const delimited = 2;

/** Returns the message of a `Status` in the same encoding. @throws when it is not one */
export function statusMessageOf(answer: Buffer): unknown {
  const { status } = readMessage(answer.subarray(magic.length), statusFields);
  return (status as { message?: unknown } | undefined)?.message;
}

/** @param mostBytes of one item, and of every other part of the list */
export function createProtobufListSplitter(mostBytes: number): ProtobufListSplitter {
  /** Bytes that are not read yet, and how many the next part needs. */
  let parts: Buffer[] = [];
  let [waiting, needed] = [0, magic.length + 1];
  let isBegun = false;
  let isListed = false;
  /** Bytes of the list that are not read yet. */
  let listLeft = 0;
  let head: unknown = {};

  const begin = (bytes: Buffer): number => {
    if (!bytes.subarray(0, magic.length).equals(magic))
      throw new Error('the answer is not a protobuf message');
    isBegun = true;
    return magic.length;
  };
  /** Reads a whole field of the list. */
  const takeField = (bytes: Buffer, { number, from, end }: FoundField, items: Buffer[]): void => {
    if (number === itemsField) items.push(bytes.subarray(from, end));
    else if (number === metadataField)
      head = { metadata: readMessage(bytes.subarray(from, end), metadataFields) };
  };
  /** Reads the fields that have arrived. @returns where the rest begins */
  const takeFields = (bytes: Buffer, begun: number, items: Buffer[]): number => {
    let at = begun;
    for (needed = 1; at < bytes.length; needed = 1) {
      const field = fieldAt(bytes, at);
      needed = (field?.end ?? bytes.length + 1) - at;
      if (field === undefined) break;
      const { number, from, end } = field;
      if (listLeft === 0 && number === rawField) {
        if (isListed) throw new Error('the answer has more than one list');
        isListed = true;
        listLeft = end - from;
        at = from;
        continue;
      }
      if (needed > mostBytes) throw new Error(`an item of the list is larger than ${mostBytes} bytes`);
      if (listLeft > 0 && needed > listLeft) throw new Error('an item ends after its list');
      if (end > bytes.length) break;
      if (listLeft > 0) {
        takeField(bytes, field, items);
        listLeft -= end - at;
      } else if (number === encodingField && end > from)
        throw new Error('the encoding of the list is unknown');
      at = end;
    }
    return at;
  };

  return {
    take(chunk) {
      parts.push(chunk);
      waiting += chunk.length;
      if (waiting < needed) return [];
      const bytes = parts.length === 1 ? chunk : Buffer.concat(parts);
      const items: Buffer[] = [];
      const at = takeFields(bytes, isBegun ? 0 : begin(bytes), items);
      waiting = bytes.length - at;
      parts = waiting === 0 ? [] : [bytes.subarray(at)];
      return items;
    },
    end() {
      if (!isListed || listLeft > 0 || waiting > 0)
        throw new Error('the answer ended in the middle of the list');
      return head;
    },
  };
}

interface FoundField {
  readonly number: number;
  /** Where its value begins, and ends. It may end after the bytes. */
  readonly from: number;
  readonly end: number;
}

/** Returns the field at a position, or undefined if its length has not arrived. */
function fieldAt(bytes: Buffer, at: number): FoundField | undefined {
  const tag = varintAt(bytes, at);
  if (tag === undefined) return undefined;
  const number = Math.floor(tag.value / 8);
  if ((tag.value & 7) !== delimited) throw new Error('the list has a field of an unknown type');
  const length = varintAt(bytes, tag.end);
  return length && { number, from: length.end, end: length.end + length.value };
}

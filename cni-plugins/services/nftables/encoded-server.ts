import {
  addEncodedElements,
  elementBytesPerMessage,
  writePlainElement,
} from '../../../base/netlink/index.ts';
import type { Request, Table } from '../../../base/netlink/index.ts';
import { destinationBytes, leadOf } from './elements.ts';
import type { Standing } from './elements.ts';
import { slotMap } from './rules.ts';

/**
 * The elements of a server as the kernel takes them: the one that leads to its mode, then its slots. Kept for
 * each server as text with a byte in each character (latin1): 200 bytes for three slots, 15 MB for 60,000
 * servers. Pure.
 */
export type EncodedServer = string;

/** The longest elements are those of IPv6: a lead of 108 bytes, and 1024 slots of 68 bytes. */
const scratch = Buffer.allocUnsafeSlow(72 * 1024);

const fewSlots = 8;

export function encodedServer(existing: Standing): EncodedServer {
  const { key, plan } = existing;
  const lead = leadOf(existing);
  let end = writePlainElement(scratch, 0, lead.key, lead.value, lead.comment);
  if (plan === undefined) return scratch.toString('latin1', 0, end);
  const width = key.length;
  const slotKey = Buffer.allocUnsafe(width + 4);
  slotKey.set(key);
  const { slots } = plan;
  // The slots of few owners: nearly every server has one for each, and they are not looked up.
  const values = slots.length > fewSlots ? new Map<string, Buffer>() : undefined;
  slots.forEach((name, slot) => {
    slotKey.writeUInt32LE(slot, width);
    let value = values?.get(name);
    if (value === undefined) {
      value = destinationBytes(name);
      values?.set(name, value);
    }
    end = writePlainElement(scratch, end, slotKey, value);
  });
  return scratch.toString('latin1', 0, end);
}

/** Returns the length of the element that begins at `from`: a netlink attribute begins with its length. */
const elementLength = (server: EncodedServer, from: number): number =>
  server.charCodeAt(from) | (server.charCodeAt(from + 1) << 8);

/** Returns the end of the elements from `from` on that fit one message. */
function endOfMessage(server: EncodedServer, from: number): number {
  if (server.length - from <= elementBytesPerMessage) return server.length;
  let end = from;
  for (;;) {
    const next = end + elementLength(server, end);
    if (next - from > elementBytesPerMessage || next > server.length || next === end) return end;
    end = next;
  }
}

/** Gathers encoded servers into few messages. */
interface ElementMessages {
  /** @param size the number of slots of its mode; undefined: it has none */
  add(server: EncodedServer, kind: 'nodes' | 'servers', size: number | undefined): void;
  /** Adds a plain element of a set. */
  addKey(set: string, key: Uint8Array): void;
  /** Returns the requests for what was added since the last call. */
  take(): Request[];
  /** Bytes that {@link ElementMessages.take} would return. */
  bytes(): number;
}

/** Buffers of one message that are not in use: there are as many as sets. */
const free: Buffer[] = [];

export function createElementMessages(table: Table): ElementMessages {
  const open = new Map<string, { readonly bytes: Buffer; used: number }>();
  let full: Request[] = [];
  let fullBytes = 0;

  const flush = (set: string, { bytes, used }: { readonly bytes: Buffer; readonly used: number }): void => {
    if (used === 0) return;
    full.push(addEncodedElements(table, set, bytes.subarray(0, used)));
    fullBytes += used;
  };
  /** Returns the buffer of a set with room for this many bytes. */
  const roomFor = (set: string, length: number): { readonly bytes: Buffer; used: number } => {
    let own = open.get(set);
    if (own === undefined) {
      own = { bytes: free.pop() ?? Buffer.allocUnsafeSlow(elementBytesPerMessage), used: 0 };
      open.set(set, own);
    }
    if (own.used + length > elementBytesPerMessage) {
      flush(set, own);
      own.used = 0;
    }
    return own;
  };

  return {
    add(server, kind, size) {
      const leadLength = elementLength(server, 0);
      const lead = roomFor(kind, leadLength);
      lead.used += lead.bytes.write(server.slice(0, leadLength), lead.used, 'latin1');
      if (size === undefined) return;
      for (let from = leadLength; from < server.length;) {
        const end = endOfMessage(server, from);
        const slots = roomFor(slotMap(size), end - from);
        slots.used += slots.bytes.write(server.slice(from, end), slots.used, 'latin1');
        from = end;
      }
    },
    addKey(set, key) {
      const own = roomFor(set, 64);
      own.used = writePlainElement(own.bytes, own.used, key, undefined);
    },
    take() {
      for (const [set, own] of open) {
        flush(set, own);
        free.push(own.bytes);
      }
      open.clear();
      const requests = full;
      full = [];
      fullBytes = 0;
      return requests;
    },
    bytes: () => {
      let bytes = fullBytes;
      for (const { used } of open.values()) bytes += used;
      return bytes;
    },
  };
}

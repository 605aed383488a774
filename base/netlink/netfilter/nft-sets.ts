import { LRUCache } from 'lru-cache';
import { attribute, be32, nested, text, NLM_F_CREATE, zeros } from '../protocol/wire.ts';
import type { Request } from '../protocol/socket.ts';
import { padded, plainElement } from './nft-element.ts';
import {
  NFT_MSG_NEWSET,
  NFT_MSG_DELSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_GETSETELEM,
  NFT_MSG_DELSETELEM,
  request,
  verdictData,
} from './nftables.ts';
import type { Verdict, Table } from './nftables.ts';

/**
 * Data types as nft names them when it lists a set (nftables' own numbers, src/datatype.h), with their width
 * in bytes.
 */
const dataTypes = {
  ipv4_addr: { number: 7, width: 4 },
  ipv6_addr: { number: 8, width: 16 },
  ether_addr: { number: 9, width: 6 },
  inet_proto: { number: 12, width: 1 },
  inet_service: { number: 13, width: 2 },
  mark: { number: 19, width: 4 },
  iface_index: { number: 40, width: 4 },
  ifname: { number: 41, width: 16 },
} as const;
export type DataType = keyof typeof dataTypes;

export interface NamedSet {
  readonly name: string;
  /** More than one: a concatenation, each part padded to four bytes. */
  readonly key: readonly DataType[];
  /** Makes the set a map. */
  readonly data?: readonly DataType[] | 'verdict';
  readonly interval?: boolean;
  /** Every element counts the packets that matched it. */
  readonly counted?: boolean;
  /** Rules add elements, each with its own timeout, up to this number. */
  readonly dynamic?: { readonly atMost: number };
}

export interface Element {
  readonly key: Uint8Array;
  readonly value?: Uint8Array | Verdict;
  /** In an interval set: the key is the first one after the interval. */
  readonly end?: boolean;
  /** For a set without intervals or verdicts. */
  readonly comment?: string;
  /** For a counted set: the initial packet count, without a value and a comment. Absent: none. */
  readonly packets?: bigint;
  /** For a dynamic set, without a value and a comment: how long the element stays. */
  readonly milliseconds?: number;
}

function layout(types: readonly DataType[]): { type: number; length: number } {
  const only = types[0];
  if (types.length === 1 && only !== undefined)
    return { type: dataTypes[only].number, length: dataTypes[only].width };
  return {
    type: types.reduce((number, type) => (number << 6) | dataTypes[type].number, 0),
    length: types.reduce((sum, type) => sum + padded(dataTypes[type].width), 0),
  };
}

/** Joins the parts of a concatenated key or value, each padded to four bytes. */
export function concatenated(...parts: readonly Uint8Array[]): Buffer {
  const bytes = zeros(parts.reduce((sum, part) => sum + padded(part.length), 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += padded(part.length);
  }
  return bytes;
}

/** Returns an interface name as a key: 16 bytes. */
export function interfaceKey(name: string): Buffer {
  const bytes = zeros(16);
  bytes.write(name, 0, 15, 'utf8');
  return bytes;
}

const NFT_SET_INTERVAL = 0x4;
const NFT_SET_MAP = 0x8;
const NFT_SET_TIMEOUT = 0x10;
const NFT_SET_EVAL = 0x20;
const NFT_DATA_VERDICT = 0xffffff00;

/**
 * Returns the request that adds a named set or map.
 * @param id unique in the batch; the kernel requires one, but rules refer to sets by name
 */
export function addSet(table: Table, set: NamedSet, id: number): Request {
  const key = layout(set.key);
  const data =
    set.data === undefined
      ? undefined
      : set.data === 'verdict'
        ? { type: NFT_DATA_VERDICT, length: 0 }
        : layout(set.data);
  // User data for nft's listing: the byte order of the key (TLV 0: 1 host, 2 network).
  const byteOrder = Buffer.from([0, 4, set.key[0] === 'ifname' && set.key.length === 1 ? 1 : 2, 0, 0, 0]);
  return request(
    'add the set',
    table,
    set.name,
    NFT_MSG_NEWSET,
    NLM_F_CREATE,
    attribute(1, text(table.name)),
    attribute(2, text(set.name)),
    attribute(
      3,
      be32(
        (set.interval === true ? NFT_SET_INTERVAL : 0) |
          (data === undefined ? 0 : NFT_SET_MAP) |
          (set.dynamic === undefined ? 0 : NFT_SET_TIMEOUT | NFT_SET_EVAL),
      ),
    ),
    attribute(4, be32(key.type)),
    attribute(5, be32(key.length)),
    ...(data === undefined ? [] : [attribute(6, be32(data.type)), attribute(7, be32(data.length))]),
    ...(set.dynamic === undefined ? [] : [nested(9, attribute(1, be32(set.dynamic.atMost)))]),
    attribute(10, be32(id)),
    ...(set.counted === true ? [nested(17, attribute(1, text('counter')))] : []),
    attribute(13, byteOrder),
  );
}

const be64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};

/** NFTA_SET_ELEM_EXPR: a counter that starts with this many packets. */
const counted = (packets: bigint): Buffer =>
  nested(
    7,
    attribute(1, text('counter')),
    nested(2, attribute(1, Buffer.alloc(8)), attribute(2, be64(packets))),
  );

function element(entry: Element): Buffer {
  if (entry.packets !== undefined)
    return nested(1, nested(1, attribute(1, entry.key)), counted(entry.packets));
  if (entry.milliseconds !== undefined)
    return nested(1, nested(1, attribute(1, entry.key)), attribute(4, be64(BigInt(entry.milliseconds))));
  if (entry.end !== true && (entry.value === undefined || entry.value instanceof Uint8Array))
    return plainElement(entry.key, entry.value, entry.comment);
  const value =
    entry.value === undefined
      ? []
      : [nested(2, entry.value instanceof Uint8Array ? attribute(1, entry.value) : verdictData(entry.value))];
  return nested(
    1,
    nested(1, attribute(1, entry.key)),
    ...value,
    ...(entry.end === true ? [attribute(3, be32(1))] : []),
  );
}

/** The list of elements is one attribute, whose length is 16 bits. */
export const elementBytesPerMessage = 48 * 1024;

/** Encoded names of tables and sets: the same few occur in nearly every message. */
const names = new LRUCache<string, Buffer>({ max: 256 });

function namesOf(table: string, set: string): Buffer {
  const key = `${table} ${set}`;
  const known = names.get(key);
  if (known !== undefined) return known;
  const bytes = Buffer.concat([attribute(1, text(table)), attribute(2, text(set))]);
  names.set(key, bytes);
  return bytes;
}

function elementRequests(
  what: string,
  message: number,
  table: Table,
  set: string,
  entries: readonly Element[],
): Request[] {
  const requests: Request[] = [];
  let chunk: Buffer[] = [];
  let size = 0;
  const flush = (): void => {
    if (chunk.length === 0) return;
    const flags = message === NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;
    requests.push(request(what, table, set, message, flags, namesOf(table.name, set), nested(3, ...chunk)));
    chunk = [];
    size = 0;
  };
  for (const entry of entries) {
    const bytes = element(entry);
    if (size + bytes.length > elementBytesPerMessage) flush();
    chunk.push(bytes);
    size += bytes.length;
  }
  flush();
  return requests;
}

/** An element that exists with another value is refused (EEXIST). */
export function addElements(table: Table, set: string, entries: readonly Element[]): Request[] {
  return elementRequests('add elements to the set', NFT_MSG_NEWSETELEM, table, set, entries);
}

/**
 * Adds elements that {@link plainElement} encoded, one after the other.
 * @param elements at most {@link elementBytesPerMessage}
 */
export function addEncodedElements(table: Table, set: string, elements: Uint8Array): Request {
  const names = namesOf(table.name, set);
  return request(
    'add elements to the set',
    table,
    set,
    NFT_MSG_NEWSETELEM,
    NLM_F_CREATE,
    names,
    nested(3, elements),
  );
}

function setRequest(
  what: string,
  message: number,
  table: Table,
  set: string,
  ...attributes: readonly Buffer[]
): Request {
  return request(what, table, set, message, 0, namesOf(table.name, set), ...attributes);
}

/** Refused (ENOENT) if the element does not exist. Only the key counts. */
export function getElement(table: Table, set: string, { key }: Element): Request {
  return setRequest(
    'look up an element of the set',
    NFT_MSG_GETSETELEM,
    table,
    set,
    nested(3, element({ key })),
  );
}

/** An element that does not exist is refused (ENOENT). */
export function deleteElements(table: Table, set: string, entries: readonly Element[]): Request[] {
  return elementRequests('delete elements of the set', NFT_MSG_DELSETELEM, table, set, entries);
}

/** Refused (EBUSY) while a rule looks up the set. */
export function deleteSet(table: Table, set: string): Request {
  return setRequest('delete the set', NFT_MSG_DELSET, table, set);
}

/** For a dump: all elements of the set. Read by `readElements`. */
export function listElements(table: Table, set: string): Request {
  return setRequest('list the elements of the set', NFT_MSG_GETSETELEM, table, set);
}

import protobuf from 'protobufjs/light.js';

/**
 * The part of etcd's API v3 that the overlay uses: names and field numbers of `etcdserverpb` and `mvccpb`
 * (etcd 3.4 to 3.6, rpc.proto and kv.proto). Fields that are not named here are ignored. Revisions and lease
 * ids are numbers: a revision stays far below 2^53, and we choose our lease ids.
 */

type Fields = Readonly<Record<string, readonly [type: string, number: number, rule?: 'repeated']>>;

const declarations: Readonly<Record<string, Fields>> = {
  // A cluster's id has 64 bits: as a number it is only good for comparison with itself.
  ResponseHeader: { clusterId: ['uint64', 1], revision: ['int64', 3] },
  // Whoever may write keys may write any bytes: as a `string`, bytes that are not UTF-8 spoil an answer.
  KeyValue: {
    key: ['bytes', 1],
    createRevision: ['int64', 2],
    modRevision: ['int64', 3],
    value: ['bytes', 5],
    lease: ['int64', 6],
  },
  RangeRequest: {
    key: ['bytes', 1],
    rangeEnd: ['string', 2],
    limit: ['int64', 3],
    revision: ['int64', 4],
    keysOnly: ['bool', 8],
  },
  RangeResponse: { header: ['ResponseHeader', 1], kvs: ['KeyValue', 2, 'repeated'], more: ['bool', 3] },
  PutRequest: { key: ['string', 1], value: ['bytes', 2], lease: ['int64', 3] },
  DeleteRangeRequest: { key: ['string', 1], rangeEnd: ['string', 2] },
  RequestOp: { range: ['RangeRequest', 1], put: ['PutRequest', 2], deleteRange: ['DeleteRangeRequest', 3] },
  ResponseOp: { range: ['RangeResponse', 1] },
  Compare: {
    result: ['uint32', 1],
    target: ['uint32', 2],
    key: ['string', 3],
    createRevision: ['int64', 5],
    modRevision: ['int64', 6],
    rangeEnd: ['string', 64],
  },
  TxnRequest: {
    compare: ['Compare', 1, 'repeated'],
    success: ['RequestOp', 2, 'repeated'],
    failure: ['RequestOp', 3, 'repeated'],
  },
  TxnResponse: {
    header: ['ResponseHeader', 1],
    succeeded: ['bool', 2],
    responses: ['ResponseOp', 3, 'repeated'],
  },
  WatchCreateRequest: {
    key: ['string', 1],
    rangeEnd: ['string', 2],
    startRevision: ['int64', 3],
    progressNotify: ['bool', 4],
    fragment: ['bool', 8],
  },
  WatchProgressRequest: {},
  WatchRequest: { create: ['WatchCreateRequest', 1], progress: ['WatchProgressRequest', 3] },
  Event: { type: ['uint32', 1], kv: ['KeyValue', 2] },
  WatchResponse: {
    header: ['ResponseHeader', 1],
    watchId: ['int64', 2],
    created: ['bool', 3],
    canceled: ['bool', 4],
    compactRevision: ['int64', 5],
    cancelReason: ['string', 6],
    fragment: ['bool', 7],
    events: ['Event', 11, 'repeated'],
  },
  LeaseGrantRequest: { ttl: ['int64', 1], id: ['int64', 2] },
  LeaseGrantResponse: { id: ['int64', 2], ttl: ['int64', 3] },
  LeaseKeepAliveRequest: { id: ['int64', 1] },
  LeaseKeepAliveResponse: { id: ['int64', 2], ttl: ['int64', 3] },
};

const root = protobuf.Root.fromJSON({
  nested: Object.fromEntries(
    Object.entries(declarations).map(([name, fields]) => [
      name,
      {
        edition: 'proto3',
        fields: Object.fromEntries(
          Object.entries(fields).map(([field, [type, id, rule]]) => [
            field,
            { type, id, ...(rule !== undefined && { rule }) },
          ]),
        ),
      },
    ]),
  ),
});

/** Encodes and decodes a message. Absent scalars get their default, absent messages stay absent. */
export interface Codec<Value> {
  encode(value: Value): Buffer;
  decode(bytes: Buffer): Value;
}

/** A call or a stream: its path, and how its messages are written and read. */
export interface Rpc<Ask, Answer> {
  readonly path: string;
  readonly ask: Codec<Ask>;
  readonly answer: Codec<Answer>;
}

function codec<Value>(name: string): Codec<Value> {
  const type = root.lookupType(name);
  return {
    encode: (value) => Buffer.from(type.encode(type.fromObject(value as Record<string, unknown>)).finish()),
    decode: (bytes) =>
      type.toObject(type.decode(bytes), {
        longs: Number,
        defaults: true,
        arrays: true,
        bytes: Buffer,
      }) as Value,
  };
}

interface Header {
  readonly clusterId: number;
  readonly revision: number;
}

export interface KeyValue {
  readonly key: string;
  /**
   * Revision of the write that created the key. It stays the same while the key exists, whatever is written
   * to it.
   */
  readonly createRevision: number;
  readonly modRevision: number;
  readonly value: Buffer;
  readonly lease: number;
}

/** A key as etcd sends it. */
export interface RawKeyValue extends Omit<KeyValue, 'key'> {
  readonly key: Buffer;
}

interface Range {
  readonly key: Buffer;
  readonly rangeEnd?: string;
  readonly limit?: number;
  readonly revision?: number;
  /** Without values. */
  readonly keysOnly?: boolean;
}

interface RangeAnswer {
  readonly header: Header;
  readonly kvs: readonly RawKeyValue[];
  readonly more: boolean;
}

/** One step of a transaction. */
export interface Step {
  readonly range?: Range;
  readonly put?: { readonly key: string; readonly value: Buffer; readonly lease?: number };
  readonly deleteRange?: { readonly key: string; readonly rangeEnd?: string };
}

/**
 * EQUAL (0) compares a key's create (1) or mod (2) revision: 0 where the key does not exist. With a
 * `rangeEnd` for every key from `key` on: create revision 0 is true if there is no such key; mod revision
 * LESS (2) is true if no such key was written since.
 */
export type Comparison =
  | {
      readonly result: 0;
      readonly target: 1;
      readonly key: string;
      readonly rangeEnd?: string;
      readonly createRevision: number;
    }
  | {
      readonly result: 0 | 2;
      readonly target: 2;
      readonly key: string;
      readonly rangeEnd?: string;
      readonly modRevision: number;
    };

interface Transaction {
  readonly compare: readonly Comparison[];
  readonly success: readonly Step[];
  readonly failure: readonly Step[];
}

interface TransactionAnswer {
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: readonly { readonly range?: RangeAnswer | null }[];
}

export interface WatchAnswer {
  readonly header: Header;
  /** -1: an answer to a request for progress, which concerns no single watch. */
  readonly watchId: number;
  readonly created: boolean;
  readonly canceled: boolean;
  /** Above 0: the requested revision is older and is no longer kept. */
  readonly compactRevision: number;
  readonly cancelReason: string;
  /** More of the same answer follows. */
  readonly fragment: boolean;
  /** Type 0: put, 1: deleted. */
  readonly events: readonly { readonly type: number; readonly kv: RawKeyValue }[];
}

/** Opens a watch, or asks for a sign of progress. */
export interface WatchAsk {
  readonly create?: {
    readonly key: string;
    readonly rangeEnd: string;
    readonly startRevision: number;
    readonly progressNotify: boolean;
    /** Answers are split into parts within etcd's own limit of a request. */
    readonly fragment: boolean;
  };
  readonly progress?: object;
}

interface LeaseTerm {
  readonly id: number;
  /** Seconds. */
  readonly ttl: number;
}

export const rpcs = {
  range: {
    path: '/etcdserverpb.KV/Range',
    ask: codec<Range>('RangeRequest'),
    answer: codec<RangeAnswer>('RangeResponse'),
  },
  transact: {
    path: '/etcdserverpb.KV/Txn',
    ask: codec<Transaction>('TxnRequest'),
    answer: codec<TransactionAnswer>('TxnResponse'),
  },
  grant: {
    path: '/etcdserverpb.Lease/LeaseGrant',
    ask: codec<LeaseTerm>('LeaseGrantRequest'),
    answer: codec<LeaseTerm>('LeaseGrantResponse'),
  },
} as const;

export const streams = {
  watch: {
    path: '/etcdserverpb.Watch/Watch',
    ask: codec<WatchAsk>('WatchRequest'),
    answer: codec<WatchAnswer>('WatchResponse'),
  },
  keepAlive: {
    path: '/etcdserverpb.Lease/LeaseKeepAlive',
    ask: codec<{ readonly id: number }>('LeaseKeepAliveRequest'),
    answer: codec<LeaseTerm>('LeaseKeepAliveResponse'),
  },
} as const;

/** Returns the end of the range of all keys with this prefix. */
export const endOf = (prefix: string): string =>
  `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`;

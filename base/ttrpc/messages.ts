import { createCodecs, parseDeclaration } from '../protobuf/index.ts';
import type { Contract, MessageCodec } from '../protobuf/index.ts';

interface KeyValue {
  readonly key: string;
  readonly value: string;
}

interface Request {
  readonly service: string;
  readonly method: string;
  readonly payload: Buffer;
  /** 0: no deadline. */
  readonly timeoutNano: bigint;
  readonly metadata: readonly KeyValue[];
}

interface Response {
  /** `google.rpc.Status`. Absent, or code 0: success. */
  readonly status?: { readonly code: number; readonly message: string };
  readonly payload: Buffer;
}

/**
 * Fields of one message, with those of the messages in it. An object of two bytes on the wire costs about a
 * hundred in memory, and a message may have 4 MiB.
 */
const mostFields = 128 * 1024;

const codec = createCodecs(
  parseDeclaration({
    package: 'ttrpc',
    messages: {
      Request: {
        service: '1 string',
        method: '2 string',
        payload: '3 bytes',
        timeoutNano: '4 nanoseconds',
        metadata: '5 repeated KeyValue',
      },
      Response: { status: '1 Status', payload: '2 bytes' },
      KeyValue: { key: '1 string', value: '2 string' },
      Status: { code: '1 int32', message: '2 string' },
    },
  }),
  { mostFields },
);

/** The messages in frames (ttrpc, request.proto). */
export const requestCodec = codec<Request>('Request');
export const responseCodec = codec<Response>('Response');

/** Metadata of a call. A key may have several values. */
export type Metadata = Readonly<Record<string, readonly string[]>>;

/** Returns metadata in the form of the wire: one entry for each value. */
export function encodeMetadata(metadata: Metadata): readonly KeyValue[] {
  return Object.entries(metadata).flatMap(([key, values]) => values.map((value) => ({ key, value })));
}

/** Returns the metadata of a request. */
export function decodeMetadata(entries: readonly KeyValue[]): Metadata {
  const values = new Map<string, string[]>();
  for (const { key, value } of entries) {
    const known = values.get(key);
    if (known === undefined) values.set(key, [value]);
    else known.push(value);
  }
  return Object.fromEntries(values);
}

/** One unary method of a service. */
export interface TtrpcMethod<Request, Response> {
  /** `containerd.task.v3.Task`. */
  readonly service: string;
  /** `State`. */
  readonly name: string;
  readonly request: MessageCodec<Request>;
  readonly response: MessageCodec<Response>;
}

/**
 * Returns a function that returns a method of a contract.
 * @param contract its package is the prefix of the names of its services
 * @throws Error, from the returned function, for a method that the contract does not have or that streams
 */
export function ttrpcMethods(
  contract: Contract,
): <Request, Response>(service: string, name: string) => TtrpcMethod<Request, Response> {
  const codecs = createCodecs(contract, { mostFields });
  return <Request, Response>(service: string, name: string) => {
    const method = contract.services.get(service)?.find((each) => each.name === name);
    if (method === undefined || method.responseStream)
      throw new Error(`no unary method ${service}.${name} in ${contract.package}`);
    return {
      service: `${contract.package}.${service}`,
      name,
      request: codecs<Request>(method.request),
      response: codecs<Response>(method.response),
    };
  };
}

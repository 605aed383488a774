import type { Duplex } from 'node:stream';
import { kindOfStatus, PortcullisError, reasonOf, statusName } from '../errors/index.ts';
import type { ErrorKind } from '../errors/index.ts';
import type { Init } from '../protobuf/index.ts';
import { openConnection } from './connection.ts';
import type { ConnectionOptions } from './connection.ts';
import { frameType, longestData } from './frames.ts';
import type { Frame } from './frames.ts';
import { encodeMetadata, requestCodec, responseCodec } from './messages.ts';
import type { Metadata, TtrpcMethod } from './messages.ts';

export interface CallOptions {
  /** How long the peer may take. `Infinity`: as long as the connection lasts. Default: 10 seconds. */
  readonly timeoutMs?: number;
  /** Cancels the call. ttrpc cannot notify the peer, so that the call may still take effect there. */
  readonly signal?: AbortSignal;
  readonly metadata?: Metadata;
}

export interface ClientOptions extends ConnectionOptions {
  /** Maximum number of calls at a time. Default: 1024. */
  readonly mostCalls?: number;
}

export interface TtrpcClient {
  /**
   * Makes one unary call.
   * @throws PortcullisError (rejects) TTRPC_<STATUS> with the peer's status and message, TTRPC_TIMEOUT,
   * TTRPC_CANCELLED, TTRPC_CLOSED, TTRPC_PROTOCOL, TTRPC_TOO_LARGE for a request above 4 MiB, TTRPC_BUSY when
   * the peer has too many calls or unread bytes already
   */
  call<Request, Response>(
    method: TtrpcMethod<Request, Response>,
    request: Init<Request>,
    options?: CallOptions,
  ): Promise<Response>;
  /** Resolves when the connection ended, with the reason unless this side closed it. Never rejects. */
  readonly closed: Promise<PortcullisError | undefined>;
  /** Ends the connection. Calls that wait are rejected with TTRPC_CLOSED. */
  close(): void;
}

interface PendingCall {
  readonly settle: (payload: Buffer) => void;
  readonly fail: (error: unknown) => void;
}

const highestStream = 0xffff_ffff;
/** Characters of a peer's message that are reported. */
const longestReason = 2_000;

/**
 * Creates the client end of a ttrpc connection (containerd/ttrpc, PROTOCOL.md 1.0: unary calls). A response
 * to a call that has already ended is dropped.
 * @param stream an open connection; it belongs to the client from now on
 */
export function createTtrpcClient(
  stream: Duplex,
  { mostCalls = 1024, ...options }: ClientOptions,
): TtrpcClient {
  const calls = new Map<number, PendingCall>();
  let next = 1;
  let end: PortcullisError | undefined;
  const { name } = options;

  const receive = ({ stream: id, type, data }: Frame): void => {
    if (type !== frameType.response) throw new Error(`the peer sent a frame of type ${type} to a client`);
    if (id % 2 === 0 || id >= next) throw new Error(`the peer answered call ${id}, which was never made`);
    const call = calls.get(id);
    if (call === undefined) return;
    const { status, payload } = responseCodec.decode(data);
    calls.delete(id);
    if (status === undefined || status.code === 0) call.settle(payload);
    else call.fail(status);
  };
  const connection = openConnection(stream, options, receive, (reason) => {
    end = reason;
    for (const call of calls.values()) call.fail(reason);
    calls.clear();
  });

  const call = async <Request, Response>(
    method: TtrpcMethod<Request, Response>,
    request: Init<Request>,
    { timeoutMs = 10_000, signal, metadata = {} }: CallOptions = {},
  ): Promise<Response> => {
    const fails = (code: string, kind: ErrorKind, why: string, fix: string): PortcullisError =>
      new PortcullisError({
        code,
        kind,
        attempted: `call ${method.service}/${method.name} of`,
        on: name,
        why,
        fix,
      });
    if (end !== undefined) throw end;
    if (signal?.aborted === true)
      throw fails('TTRPC_CANCELLED', 'cancelled', 'the caller cancelled the call', 'try again');
    if (calls.size >= mostCalls || connection.congested())
      throw fails(
        'TTRPC_BUSY',
        'exhausted',
        `${calls.size} calls are waiting for its answer`,
        'try again later',
      );
    const data = requestCodec.encode({
      service: method.service,
      method: method.name,
      payload: method.request.encode(request),
      timeoutNano: Number.isFinite(timeoutMs) ? BigInt(Math.ceil(timeoutMs * 1e6)) : 0n,
      metadata: encodeMetadata(metadata),
    });
    if (data.length > longestData)
      throw fails(
        'TTRPC_TOO_LARGE',
        'exhausted',
        `the request has ${data.length} bytes`,
        `send at most ${longestData}`,
      );
    const id = next;
    next += 2;
    if (next > highestStream) connection.close('all stream numbers of the connection are used');
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    calls.set(id, { settle: resolve, fail: reject });
    const timer = Number.isFinite(timeoutMs)
      ? setTimeout(
          () => reject(fails('TTRPC_TIMEOUT', 'deadline', `no answer within ${timeoutMs} ms`, 'try again')),
          timeoutMs,
        )
      : undefined;
    const cancel = (): void =>
      reject(fails('TTRPC_CANCELLED', 'cancelled', 'the caller cancelled the call', 'try again'));
    signal?.addEventListener('abort', cancel, { once: true });
    connection.send(id, frameType.request, data);
    try {
      return decode(method, await promise, fails);
    } catch (thrown) {
      throw isStatus(thrown)
        ? fails(
            `TTRPC_${statusName(thrown.code)}`,
            kindOfStatus(thrown.code),
            shown(thrown.message),
            'see its log',
          )
        : thrown;
    } finally {
      calls.delete(id);
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
    }
  };
  return { call, closed: connection.closed, close: () => connection.close() };
}

function decode<Response>(
  method: TtrpcMethod<unknown, Response>,
  payload: Buffer,
  fails: (code: string, kind: ErrorKind, why: string, fix: string) => PortcullisError,
): Response {
  try {
    return method.response.decode(payload);
  } catch (thrown) {
    throw fails(
      'TTRPC_PROTOCOL',
      'unavailable',
      `its answer is unreadable: ${reasonOf(thrown)}`,
      'update the peer',
    );
  }
}

/**
 * Returns a peer's text, shortened and without control characters, because it reaches logs, terminals and the
 * headers of answers.
 */
function shown(text: string): string {
  const plain = text.slice(0, 2 * longestReason).replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  return plain.length > longestReason ? `${plain.slice(0, longestReason)}…` : plain;
}

function isStatus(value: unknown): value is { readonly code: number; readonly message: string } {
  return typeof value === 'object' && value !== null && !(value instanceof Error) && 'code' in value;
}

import { Client, credentials, Metadata, status as grpcStatus } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { isAbsolute } from 'node:path';
import { connectReason, kindOfStatus, PortcullisError } from '../../base/errors/index.ts';
import type { ImageService, RuntimeService } from './contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';
import { rpcs } from './contract/services.ts';
import type { RpcDefinition, ServiceName } from './contract/services.ts';
import { messageLimits } from './limits.ts';
import { decodeDetails, detailsKey } from './status-details.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Default: no deadline. */
  readonly timeoutMs?: number;
  /** Sent with the call. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Only for a call that answers with a stream: called when the server has sent the headers of its answer.
   * Portcullis does so once a watching client misses nothing. gRPC does not order the calls of a connection,
   * so that a client that needs what follows its own next call has to wait for this.
   */
  readonly onAccepted?: () => void;
}

interface Rpc {
  readonly request: unknown;
  readonly response: unknown;
  readonly stream: boolean;
}
type ClientCall<Method extends Rpc> = (
  request?: Init<Method['request']>,
  options?: CallOptions,
) => Method['stream'] extends true ? AsyncIterable<Method['response']> : Promise<Method['response']>;
export type RuntimeClient = { readonly [Name in keyof RuntimeService]: ClientCall<RuntimeService[Name]> };
export type ImageClient = { readonly [Name in keyof ImageService]: ClientCall<ImageService[Name]> };

export interface CriClient {
  readonly runtime: RuntimeClient;
  readonly image: ImageClient;
  close(): void;
}

/**
 * Creates a client of any CRI v1 endpoint. Connects on the first call. Calls reject with a `PortcullisError`:
 * with the server's own code, kind and details if it is Portcullis, with CRI_UNREACHABLE if no server
 * answers, otherwise with `CRI_<STATUS>` and the server's message.
 * @param socketPath absolute, without `unix://`
 * @throws PortcullisError CRI_SOCKET_PATH if the path is not absolute
 */
export function createCriClient(socketPath: string): CriClient {
  if (!isAbsolute(socketPath)) {
    const failure = {
      code: 'CRI_SOCKET_PATH',
      kind: 'invalid',
      attempted: 'connect to',
      on: socketPath,
      why: 'the socket path is not absolute',
      fix: 'use an absolute path',
    } as const;
    throw new PortcullisError(failure);
  }
  const channel = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
    ...messageLimits,
    'grpc.enable_channelz': 0,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
    // Neither the path nor the environment may choose the authority, because nghttp2 refuses most values that
    // are not host names.
    'grpc.default_authority': 'localhost',
    'grpc.enable_http_proxy': 0,
  });
  return {
    runtime: calls(channel, 'RuntimeService', socketPath) as RuntimeClient,
    image: calls(channel, 'ImageService', socketPath) as ImageClient,
    close: () => channel.close(),
  };
}

function calls(channel: Client, service: ServiceName, socketPath: string): unknown {
  return Object.fromEntries(
    rpcs
      .filter((rpc) => rpc.service === service)
      .map((rpc) => [
        rpc.key,
        (request: object = {}, options: CallOptions = {}) =>
          rpc.responseStream
            ? stream(channel, rpc, request, options, socketPath)
            : unary(channel, rpc, request, options, socketPath),
      ]),
  );
}

function unary(
  channel: Client,
  rpc: RpcDefinition,
  request: object,
  options: CallOptions,
  socketPath: string,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted();
    const cancel = (): void => call.cancel();
    const call = channel.makeUnaryRequest(
      rpc.path,
      ...codecsOf(rpc),
      request,
      metadata(options),
      deadline(options),
      (error, response) => {
        options.signal?.removeEventListener('abort', cancel);
        if (error === null) resolve(response);
        else reject(toFailure(error, rpc, socketPath));
      },
    );
    options.signal?.addEventListener('abort', cancel, { once: true });
  });
}

const codecsOf = (rpc: RpcDefinition) =>
  [
    (value: object): Buffer => rpc.request.encode(value),
    (bytes: Buffer): unknown => rpc.response.decode(bytes),
  ] as const;

async function* stream(
  channel: Client,
  rpc: RpcDefinition,
  request: object,
  options: CallOptions,
  socketPath: string,
): AsyncIterable<unknown> {
  options.signal?.throwIfAborted();
  const call = channel.makeServerStreamRequest(
    rpc.path,
    ...codecsOf(rpc),
    request,
    metadata(options),
    deadline(options),
  );
  const cancel = (): void => call.cancel();
  options.signal?.addEventListener('abort', cancel, { once: true });
  call.once('metadata', () => options.onAccepted?.());
  try {
    yield* call;
  } catch (thrown) {
    throw toFailure(thrown as ServiceError, rpc, socketPath);
  } finally {
    options.signal?.removeEventListener('abort', cancel);
    call.cancel();
  }
}

function metadata({ headers = {} }: CallOptions): Metadata {
  const sent = new Metadata();
  for (const [name, value] of Object.entries(headers)) sent.set(name, value);
  return sent;
}

function deadline(options: CallOptions): { deadline?: number } {
  return options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs };
}

/**
 * Returns the reason in words.
 * @param details "No connection established. Last error: Error: connect ENOENT … Resolution note: …"
 */
function unreachable(details: string): string {
  const said = /Error: (.+?)\.? Resolution note/.exec(details)?.[1] ?? details;
  return connectReason(/^connect ([A-Z]+)/.exec(said)?.[1]) ?? said;
}

function toFailure(error: ServiceError, rpc: RpcDefinition, socketPath: string): PortcullisError {
  const [details] = error.metadata.get(detailsKey);
  const reported = details instanceof Uint8Array ? decodeDetails(details) : undefined;
  if (reported !== undefined) return reported;
  if (error.code === grpcStatus.UNAVAILABLE) {
    return new PortcullisError({
      code: 'CRI_UNREACHABLE',
      kind: 'unavailable',
      attempted: `call ${rpc.name} on`,
      on: socketPath,
      why: unreachable(error.details),
      fix: /Error: connect EACCES /.test(error.details)
        ? 'run the command as root, or name the group of this user in peers.gids of the daemon’s configuration'
        : 'start the daemon, or name its socket by --socket or PORTCULLIS_SOCKET',
    });
  }
  return new PortcullisError({
    code: `CRI_${grpcStatus[error.code]}`,
    kind: kindOfStatus(error.code),
    attempted: `call ${rpc.name} on`,
    on: socketPath,
    why: error.details,
    fix: 'check the log of the runtime behind the socket',
  });
}

import { Metadata, status as grpcStatus } from '@grpc/grpc-js';
import type { StatusObject } from '@grpc/grpc-js';
import { isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import type { ErrorKind } from '../../base/errors/index.ts';
import { kernelError } from '../../base/kernel/index.ts';
import { storageFailure } from '../../base/storage/index.ts';
import { shorten } from './shorten.ts';
import { detailsKey, encodeDetails } from './status-details.ts';

/** Which gRPC status a kind of failure has on the wire (grpc.io, "Status codes"). `undecided` may be retried, `denied` may not. */
const statusOfKind: Readonly<Record<ErrorKind, grpcStatus>> = {
  invalid: grpcStatus.INVALID_ARGUMENT,
  'not-found': grpcStatus.NOT_FOUND,
  'already-exists': grpcStatus.ALREADY_EXISTS,
  denied: grpcStatus.PERMISSION_DENIED,
  undecided: grpcStatus.UNAVAILABLE,
  precondition: grpcStatus.FAILED_PRECONDITION,
  unavailable: grpcStatus.UNAVAILABLE,
  exhausted: grpcStatus.RESOURCE_EXHAUSTED,
  deadline: grpcStatus.DEADLINE_EXCEEDED,
  cancelled: grpcStatus.CANCELLED,
  unimplemented: grpcStatus.UNIMPLEMENTED,
  'data-loss': grpcStatus.DATA_LOSS,
  internal: grpcStatus.INTERNAL,
};

/**
 * HTTP/2 peers bound the size of trailers (nghttp2: 64 KiB, of which grpc-message may take three bytes a byte); a status is cut to fit.
 * The whole reason of a verdict is in the verdict log.
 */
const longestMessage = 8 * 1024;

/**
 * The failure of one RPC as the client gets it: status code, message and `google.rpc.Status` details.
 *
 * A kubelet knows `SignatureValidationFailed` and `RegistryUnavailable` by the beginning of PullImage's message, but it takes the
 * message out of the status only when its code is UNKNOWN (cri-client, remote_image.go; kubelet, image_manager.go, evalCRIPullErr).
 * The true kind is in the details then.
 */
export function toStatus(error: PortcullisError, rpc: string, requestId: string): Partial<StatusObject> {
  const forKubelet = rpc === 'PullImage' && error.failure.prefix !== undefined;
  const code = forKubelet ? grpcStatus.UNKNOWN : statusOfKind[error.kind];
  const message = shorten(error.message, longestMessage);
  const metadata = new Metadata();
  metadata.set(detailsKey, encodeDetails(code, message, error, requestId));
  return { code, details: message, metadata };
}

/** What a node without room, or with a disk that fails, answers to any call of a file. */
const ofDisk = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'];
/** What a node answers that is short of something else, or that uses it now. */
const ofNode = ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EBUSY'];

/** A call of node:fs that failed by the state of the node, not by what was asked for. Any other is a fault of ours. */
function nodeFailure(thrown: unknown, rpc: string): PortcullisError | undefined {
  if (!(thrown instanceof Error) || !('syscall' in thrown) || !('code' in thrown)) return undefined;
  const { code, syscall } = thrown;
  if (typeof code !== 'string' || typeof syscall !== 'string') return undefined;
  const on = 'path' in thrown && typeof thrown.path === 'string' ? thrown.path : rpc;
  if (ofDisk.includes(code)) return storageFailure(thrown, syscall, on);
  return ofNode.includes(code) ? kernelError(code, syscall, on) : undefined;
}

/** Any thrown value as a {@link PortcullisError}: a node that is short of something is named; what else is no such error is a fault of ours, CRI_INTERNAL. */
export function asFailure(thrown: unknown, rpc: string): PortcullisError {
  if (isPortcullisError(thrown)) return thrown;
  const failure = nodeFailure(thrown, rpc);
  if (failure !== undefined) return failure;
  return new PortcullisError({
    code: 'CRI_INTERNAL',
    kind: 'internal',
    attempted: 'serve',
    on: rpc,
    why: thrown instanceof Error ? thrown.message : String(thrown),
    fix: 'see the daemon log and report it as a fault of Portcullis',
    cause: thrown,
  });
}

/** The kind that a status code of another server most likely means. */
export function kindOfStatus(code: number): ErrorKind {
  for (const [kind, status] of Object.entries(statusOfKind)) {
    if (Number(status) === code && kind !== 'undecided') return kind as ErrorKind;
  }
  return code === Number(grpcStatus.UNAUTHENTICATED) ? 'denied' : 'internal';
}

import { Metadata, status as grpcStatus } from '@grpc/grpc-js';
import type { StatusObject } from '@grpc/grpc-js';
import {
  PortcullisError,
  errnoOf,
  isPortcullisError,
  meaningOfErrno,
  meansDamagedFileSystem,
  statusCodes,
  statusName,
} from '../../base/errors/index.ts';
import type { ErrorKind } from '../../base/errors/index.ts';
import { kernelError } from '../../base/kernel/index.ts';
import { storageFailure } from '../../base/storage/index.ts';
import { printableMessage } from './printable.ts';
import { shorten } from './shorten.ts';
import { detailsKey, encodeDetails } from './status-details.ts';

/**
 * HTTP/2 peers limit the size of trailers (nghttp2: 64 KiB, of which grpc-message may take three bytes per
 * byte), so a status is shortened to fit. The verdict log has the whole reason of a verdict.
 */
const longestMessage = 8 * 1024;

/**
 * Returns the failure of one RPC as the client receives it: status code, message and `google.rpc.Status`
 * details.
 *
 * A kubelet recognizes `SignatureValidationFailed` and `RegistryUnavailable` by the beginning of PullImage's
 * message, but it takes the message from the status only when the code is UNKNOWN (cri-client,
 * remote_image.go; kubelet, image_manager.go, evalCRIPullErr). In that case the details contain the true
 * kind.
 */
export function toStatus(error: PortcullisError, rpc: string, requestId: string): Partial<StatusObject> {
  const forKubelet = rpc === 'PullImage' && error.failure.prefix !== undefined;
  const code = forKubelet ? grpcStatus.UNKNOWN : statusOf(error.kind);
  const message = shorten(printableMessage(error.message), longestMessage);
  const metadata = new Metadata();
  metadata.set(detailsKey, encodeDetails(code, message, error, requestId));
  return { code, details: message, metadata };
}

/**
 * Returns the failure of a node:fs call that was caused by the state of the node, not by the request. Any
 * other failure is a bug in the daemon.
 */
function nodeFailure(thrown: unknown, rpc: string): PortcullisError | undefined {
  if (!(thrown instanceof Error) || !('syscall' in thrown) || !('code' in thrown)) return undefined;
  const { syscall } = thrown;
  const code = errnoOf(thrown);
  if (code === undefined || typeof syscall !== 'string') return undefined;
  const on = 'path' in thrown && typeof thrown.path === 'string' ? thrown.path : rpc;
  if (meansDamagedFileSystem(code)) return storageFailure(thrown, syscall, on);
  switch (meaningOfErrno(code)) {
    // A node without disk space, or with a failing disk.
    case 'disk-full':
    case 'read-only':
    case 'no-answer':
      return storageFailure(thrown, syscall, on);
    case 'shortage':
    case 'interrupted':
      return kernelError(code, syscall, on);
    case 'gone':
    case undefined:
      return code === 'EBUSY' ? kernelError(code, syscall, on) : undefined;
  }
}

/**
 * Converts any thrown value to a {@link PortcullisError}. A shortage of the node is named. Any other value
 * that is not a PortcullisError is a bug in the daemon, CRI_INTERNAL.
 */
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
    fix: 'read the daemon log, and report this as a bug of Portcullis',
    cause: thrown,
  });
}

function statusOf(kind: ErrorKind): grpcStatus {
  return grpcStatus[statusName(statusCodes[kind]) as keyof typeof grpcStatus];
}

import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';

/** Failures that the request itself caused: another member would answer the same. */
const ownFaults: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.PERMISSION_DENIED,
  status.FAILED_PRECONDITION,
  status.OUT_OF_RANGE,
  status.UNAUTHENTICATED,
]);
/** etcd or gRPC refused a message for its size. */
export const tooLarge = /larger than max|request is too large/u;

/** Returns whether another member would answer the same. */
export const isOwnFault = ({ code, details }: Partial<ServiceError>): boolean =>
  code !== undefined && (ownFaults.has(code) || tooLarge.test(details ?? ''));

/** etcd asks for a user when the certificate names none. */
const noUser = /user name is empty/u;

/** Returns the error of a failed call. */
export function failureOf(attempted: string, endpoint: string, error: ServiceError): PortcullisError {
  const why =
    (error.code as number | undefined) === undefined
      ? reasonOf(error)
      : `${status[error.code]}: ${error.details.replace(/\.? Resolution note: $/u, '')}`;
  if (tooLarge.test(why)) return oversized(attempted, endpoint, why, error);
  return error.code === status.PERMISSION_DENIED || error.code === status.UNAUTHENTICATED || noUser.test(why)
    ? denied(attempted, endpoint, why, error)
    : unreachable(attempted, endpoint, why, error);
}

/** @param cause error of grpc, whose message contains no secret */
export function unreachable(attempted: string, on: string, why: string, cause?: unknown): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'unavailable',
    attempted,
    on,
    why,
    fix: 'check that etcd runs, and that the addresses (`network.overlay.etcd.endpoints`, or --etcd) and these certificates are correct; meanwhile pods continue to run',
    cause,
  });
}

function oversized(attempted: string, on: string, why: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'invalid',
    attempted,
    on,
    why,
    fix: 'make the document smaller, or raise --max-request-bytes of each member of etcd',
    cause,
  });
}

function denied(attempted: string, on: string, why: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_DENIED',
    kind: 'denied',
    attempted,
    on,
    why,
    fix: 'give the user that the client certificate names (CN) a role with rights to these keys: docs/overlay.md (Ownership) for networks that span hosts, docs/node-state.md (Rights in etcd) for groups of nodes',
    cause,
  });
}

import type { ErrorKind } from './portcullis-error.ts';

/**
 * The status code of gRPC for each kind of failure (grpc.io, "Status codes"); ttrpc uses the same numbers.
 * `undecided` may be retried, `denied` may not.
 */
export const statusCodes: Readonly<Record<ErrorKind, number>> = {
  cancelled: 1,
  invalid: 3,
  deadline: 4,
  'not-found': 5,
  'already-exists': 6,
  denied: 7,
  exhausted: 8,
  precondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  undecided: 14,
  'data-loss': 15,
};

const unauthenticated = 16;

/** Returns the most likely kind for a status code of another server. */
export function kindOfStatus(code: number): ErrorKind {
  for (const [kind, status] of Object.entries(statusCodes)) {
    if (status === code && kind !== 'undecided') return kind as ErrorKind;
  }
  return code === unauthenticated ? 'denied' : 'internal';
}

const statusNames = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

/** Returns the name of a status code: `OK`, `NOT_FOUND`, … */
export function statusName(code: number): string {
  return statusNames[code] ?? 'UNKNOWN';
}

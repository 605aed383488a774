import { randomUUID } from 'node:crypto';

/** The header in which a caller sends its request id. */
export const requestIdHeader = 'x-request-id';

/**
 * Returns the caller's own id if it is short and plain (it is written to logs and status details), or else a
 * new one of 16 hex digits.
 */
export function requestIdOf(given: string | undefined): string {
  if (given !== undefined && /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/.test(given)) return given;
  return randomUUID().replaceAll('-', '').slice(0, 16);
}

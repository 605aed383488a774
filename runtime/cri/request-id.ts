import { randomUUID } from 'node:crypto';

/** The header by which a caller names its request. */
export const requestIdHeader = 'x-request-id';

/** The caller's own id when it is short and plain (it goes into logs and status details), else a new one of 16 hex digits. */
export function requestIdOf(given: string | undefined): string {
  if (given !== undefined && /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/.test(given)) return given;
  return randomUUID().replaceAll('-', '').slice(0, 16);
}

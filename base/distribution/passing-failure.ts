import { isPortcullisError } from '../errors/index.ts';
import type { PortcullisError } from '../errors/index.ts';

/** The connection broke, or no more data came. Another connection may work at once. */
const brokenCodes: ReadonlySet<unknown> = new Set([
  'ECONNRESET',
  'EPIPE',
  'UND_ERR_SOCKET',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);
/** Nothing accepts connections. This ends when the server is started, or reached again. */
const downCodes: ReadonlySet<unknown> = new Set([
  ...['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'EAI_AGAIN'],
]);
/** Answers of a proxy before a server that is down. */
const downStatuses: ReadonlySet<unknown> = new Set([502, 503, 504]);

/** Returns whether a failure of this room says that a connection broke before or within its answer. */
export function isBrokenOff(thrown: unknown): thrown is PortcullisError {
  return isUnreachable(thrown) && brokenCodes.has(thrown.failure.details?.['code']);
}

/**
 * Returns whether a failure of this room says that the server is down: nothing accepts connections, or a
 * proxy before the server says so.
 */
export function isServerDown(thrown: unknown): boolean {
  if (!isUnreachable(thrown)) return false;
  const { code, status } = thrown.failure.details ?? {};
  return downCodes.has(code) || downStatuses.has(status);
}

/** Returns whether a failure of this room is an answer of 500, which the next attempt may not get. */
export function isServerFault(thrown: unknown): boolean {
  return isUnreachable(thrown) && thrown.failure.details?.['status'] === 500;
}

/** Returns whether such a failure took as long as the server may stay silent. */
export function isSilence(failure: PortcullisError): boolean {
  return String(failure.failure.details?.['code']).endsWith('_TIMEOUT');
}

/**
 * Returns whether an answer says that another attempt can succeed. @param writes whether the request changes
 * something
 */
export function isPassingStatus(status: number, writes: boolean): boolean {
  return status === 429 || status === 503 || (!writes && (status === 502 || status === 504));
}

/**
 * Returns the milliseconds to wait before another attempt: they double with each one, and vary by a quarter.
 */
export function backOff(attempt: number): number {
  return 200 * 2 ** attempt * (0.75 + Math.random() / 2);
}

function isUnreachable(thrown: unknown): thrown is PortcullisError {
  return isPortcullisError(thrown) && thrown.code === 'DISTRIBUTION_UNREACHABLE';
}

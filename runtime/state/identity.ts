import { createHash, randomBytes } from 'node:crypto';
import { withoutBytes } from './records.ts';

/** Returns the sha256 of a value's JSON, in hex; bytes count as base64. Equal requests have equal digests. */
export function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(withoutBytes(value)))
    .digest('hex');
}

/** Returns 32 random bytes in hex: the form that every CRI client knows. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}

let latest = 0n;
/** The maximum step by which a clock runs back while it is being corrected. */
const correctionNs = 1_000_000_000n;

/**
 * Returns the wall clock in nanoseconds since 1970, decimal, and never the same value twice. Follows a clock
 * that is set back, because a kubelet does not start probes of a container whose start is in the future.
 */
export function now(): string {
  const read = BigInt(Date.now()) * 1_000_000n;
  latest = read > latest || read < latest - correctionNs ? read : latest + 1n;
  return latest.toString();
}

/**
 * Returns a creation time: `time`, but later than each earlier attempt at the same name. If the clock was set
 * back, even between two starts of the machine, a kubelet would otherwise take the older attempt for the
 * newest, and create another one endlessly.
 */
export function createdAfter(time: string, attempt: Attempt, all: readonly Attempt[]): string {
  const same = withoutAttempt(attempt.name);
  return all
    .filter(({ name }) => withoutAttempt(name) === same)
    .reduce(
      (latest, { createdAt = '0' }) => (BigInt(createdAt) < latest ? latest : BigInt(createdAt) + 1n),
      BigInt(time),
    )
    .toString();
}

export interface Attempt {
  /** Ends with `_` and the number of the attempt. */
  readonly name: string;
  readonly createdAt?: string;
}

const withoutAttempt = (name: string): string => name.slice(0, name.lastIndexOf('_'));

import { createHash, randomBytes } from 'node:crypto';

/** sha256 of a value's JSON, hex; bytes count as base64. Equal requests have equal digests. */
export function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value, (_key, part: unknown) => (part instanceof Uint8Array ? Buffer.from(part).toString('base64') : part)))
    .digest('hex');
}

/** 32 random bytes, hex: the form that every CRI client knows. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}

let latest = 0n;
/** As far as a clock that is being corrected runs back in small steps. */
const correctionNs = 1_000_000_000n;

/**
 * The wall clock in nanoseconds since 1970, decimal, never the same twice. A clock that is set back is followed: a kubelet begins no probe of a
 * container whose start is still to come.
 */
export function now(): string {
  const read = BigInt(Date.now()) * 1_000_000n;
  latest = read > latest || read < latest - correctionNs ? read : latest + 1n;
  return latest.toString();
}

/**
 * When something was created: at `time`, but after each earlier attempt at the same. Where the clock was set back, also between two starts of
 * the machine, a kubelet would take the older one for the newest, and make another without end.
 */
export function createdAfter(time: string, attempt: Attempt, all: readonly Attempt[]): string {
  const same = withoutAttempt(attempt.name);
  return all
    .filter(({ name }) => withoutAttempt(name) === same)
    .reduce((latest, { createdAt = '0' }) => (BigInt(createdAt) < latest ? latest : BigInt(createdAt) + 1n), BigInt(time))
    .toString();
}

export interface Attempt {
  /** Ends with `_` and the number of the attempt. */
  readonly name: string;
  readonly createdAt?: string;
}

const withoutAttempt = (name: string): string => name.slice(0, name.lastIndexOf('_'));

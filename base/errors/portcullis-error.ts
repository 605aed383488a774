/**
 * What sort of failure it is, in the caller's eyes; the CRI server maps each to one gRPC status.
 * `denied`: the decision was no. `undecided`: no decision could be reached, which is a no as well.
 */
export type ErrorKind =
  | 'invalid'
  | 'not-found'
  | 'already-exists'
  | 'denied'
  | 'undecided'
  | 'precondition'
  | 'unavailable'
  | 'exhausted'
  | 'deadline'
  | 'cancelled'
  | 'unimplemented'
  | 'data-loss'
  | 'internal';

/** The four things every failure tells, its stable code, and machine-readable details. */
export interface Failure<Code extends string = string> {
  /** Stable, upper-case, prefixed by the room: `TRUST_POLICY_UNREADABLE`. */
  readonly code: Code;
  readonly kind: ErrorKind;
  /** What was attempted: "pull image". */
  readonly attempted: string;
  /** On what: the reference, path, id. Never a secret. */
  readonly on: string;
  /** Why it failed. */
  readonly why: string;
  /** What the reader can do about it. */
  readonly fix: string;
  /** A prefix that a kubelet knows, such as `SignatureValidationFailed`. */
  readonly prefix?: string;
  /** Values for programs: rule, digest, verdict id. Plain JSON, never a secret. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** A failure as it crosses a Worker or a wire. */
export type SerialisedError = Omit<Failure, 'cause'>;

/** The one error type of the product. Its message names what was attempted, on what, why it failed and what to do. */
export class PortcullisError<Code extends string = string> extends Error {
  override readonly name = 'PortcullisError';
  readonly code: Code;
  readonly kind: ErrorKind;
  readonly failure: Failure<Code>;

  constructor(failure: Failure<Code>) {
    super(sentence(failure), failure.cause === undefined ? undefined : { cause: failure.cause });
    this.code = failure.code;
    this.kind = failure.kind;
    this.failure = failure;
  }
}

function sentence(failure: Failure): string {
  const prefix = failure.prefix === undefined ? '' : `${failure.prefix}: `;
  const subject = failure.on === '' ? '' : ` ${failure.on}`;
  return `${prefix}${failure.attempted}${subject}: ${failure.why}; ${failure.fix} [${failure.code}]`;
}

/** Also of an error made by another bundle's copy of this class. */
export function isPortcullisError(value: unknown): value is PortcullisError {
  return value instanceof PortcullisError || (value instanceof Error && value.name === 'PortcullisError' && 'failure' in value);
}

/** The reason text of any thrown value, without a stack. */
export function reasonOf(thrown: unknown): string {
  if (isPortcullisError(thrown)) return thrown.failure.why;
  if (thrown instanceof Error) return thrown.message;
  return String(thrown);
}

/** `thrown` itself when it already is a {@link PortcullisError}; else wrapped in the given failure with its reason as `why`. */
export function asPortcullisError(thrown: unknown, failure: Omit<Failure, 'why' | 'cause'>): PortcullisError {
  if (isPortcullisError(thrown)) return thrown;
  return new PortcullisError({ ...failure, why: reasonOf(thrown), cause: thrown });
}

export function errorToJson(error: PortcullisError): SerialisedError {
  const { cause: _cause, ...rest } = error.failure;
  return rest;
}

export function errorFromJson(value: SerialisedError): PortcullisError {
  return new PortcullisError(value);
}

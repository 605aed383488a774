import { namedMessage } from './unnamed-errno.ts';

/**
 * The type of a failure, as the caller sees it. The CRI server maps each type to one gRPC status.
 * `denied`: the decision was no. `undecided`: no decision could be reached, which counts as no.
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

/** The four things that every failure says, its stable code, and machine-readable details. */
export interface Failure<Code extends string = string> {
  /** A stable upper-case code, prefixed with the name of the folder: `TRUST_POLICY_UNREADABLE`. */
  readonly code: Code;
  readonly kind: ErrorKind;
  /** The attempted operation, such as "pull image". */
  readonly attempted: string;
  /** The object of the attempt: a reference, path or id. Never a secret. */
  readonly on: string;
  /** The reason for the failure. */
  readonly why: string;
  /** The action that the reader can take. */
  readonly fix: string;
  /** A prefix that a kubelet knows, such as `SignatureValidationFailed`. */
  readonly prefix?: string;
  /** Values for programs, such as a rule, digest or verdict id. Plain JSON, never a secret. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** A failure in the form in which it crosses a Worker or a wire. */
export type SerialisedError = Omit<Failure, 'cause'>;

/**
 * The only error type of the product. Its message says what was attempted, on which object, why it failed and
 * what to do.
 */
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
  return `${prefix}${failure.attempted}${subject}: ${reasonAndFix(failure)} [${failure.code}]`;
}

/** Returns why something failed and what to do, as a part of a longer text. */
export function reasonAndFix({ why, fix }: Pick<Failure, 'why' | 'fix'>): string {
  // A reason that lists problems ends with a line feed.
  return `${why}${why.endsWith('\n') ? '' : '; '}${fix}`;
}

/** Returns true also for an error that another bundle's copy of this class created. */
export function isPortcullisError(value: unknown): value is PortcullisError {
  return (
    value instanceof PortcullisError ||
    (value instanceof Error && value.name === 'PortcullisError' && 'failure' in value)
  );
}

/** Returns a function that reports whether an error is a {@link PortcullisError} with this code. */
export function codeIs(code: string): (thrown: unknown) => boolean {
  return (thrown) => isPortcullisError(thrown) && thrown.code === code;
}

/** Returns the reason text of any thrown value, without a stack. */
export function reasonOf(thrown: unknown): string {
  if (isPortcullisError(thrown)) return thrown.failure.why;
  if (thrown instanceof Error) return namedMessage(thrown.message);
  return String(thrown);
}

/** Reasons of the file system in words, by errno name. */
const fileReasons: Readonly<Record<string, string>> = {
  EACCES: 'this user has no permission',
  EEXIST: 'it exists already, and nothing is overwritten',
  EISDIR: 'it is a folder',
  ELOOP: 'its symbolic links form a loop',
  ENAMETOOLONG: 'its name is too long',
  ENOENT: 'it does not exist',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of its path is not a folder',
  EPERM: 'this user has no permission',
  EROFS: 'its file system is read-only',
};

const folderOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));

/**
 * Returns the reason why an operation on `file` failed, in words where the file system names a usual one: the
 * message of Node repeats the path and names a system call. An error about a file of another folder keeps its
 * message.
 */
export function fileReason(thrown: unknown, file: string): string {
  if (!(thrown instanceof Error) || isPortcullisError(thrown)) return reasonOf(thrown);
  const { code = '', path } = thrown as NodeJS.ErrnoException;
  if (path !== undefined && path !== file) {
    // A write creates a temporary file beside it. If that is missing, the folder is.
    if (folderOf(path) !== folderOf(file)) return reasonOf(thrown);
    if (code === 'ENOENT') return 'its folder does not exist';
  }
  if (code === 'ENOSPC' && file.startsWith('/sys/fs/cgroup/'))
    return 'the kernel has no room for more cgroups';
  return fileReasons[code] ?? reasonOf(thrown);
}

/**
 * Returns the reason why a folder could not be created or listed, in words like {@link fileReason}: for a
 * folder, these error numbers mean that something else has its name.
 */
export function folderReason(thrown: unknown, folder: string): string {
  const { code, path } = thrown as NodeJS.ErrnoException;
  const isOther = code === 'ENOTDIR' || code === 'EEXIST';
  return isOther && path === folder
    ? 'it, or a part of its path, is not a folder'
    : fileReason(thrown, folder);
}

/** Reasons of connect(2) for a Unix socket, by errno name. */
const connectReasons: Readonly<Record<string, string>> = {
  ENOENT: 'the socket does not exist',
  ECONNREFUSED: 'no process listens at the socket',
  EACCES: 'this user may not connect to the socket',
};

/**
 * Returns the reason of a failed connect(2) to a Unix socket in words, or undefined for an unusual one.
 * @param code the name of the error number
 */
export function connectReason(code: string | undefined): string | undefined {
  return code === undefined ? undefined : connectReasons[code];
}

/**
 * Returns `thrown` itself if it already is a {@link PortcullisError}. Otherwise wraps it in the given
 * failure, with its reason as `why`.
 */
export function asPortcullisError(thrown: unknown, failure: Omit<Failure, 'why' | 'cause'>): PortcullisError {
  if (isPortcullisError(thrown)) return thrown;
  return new PortcullisError({ ...failure, why: reasonOf(thrown), cause: thrown });
}

/** Returns an error in the form in which it crosses a Worker or a wire: without its cause. */
export function errorToJson(error: PortcullisError): SerialisedError {
  const { cause: _cause, ...rest } = error.failure;
  return rest;
}

/** Returns the error that {@link errorToJson} was called with, without its cause. */
export function errorFromJson(value: SerialisedError): PortcullisError {
  return new PortcullisError(value);
}

/** Returns an error without details and cause; the arguments are the fields of {@link Failure}. */
export function failure(
  code: string,
  kind: ErrorKind,
  attempted: string,
  on: string,
  why: string,
  fix: string,
): PortcullisError {
  return new PortcullisError({ code, kind, attempted, on, why, fix });
}

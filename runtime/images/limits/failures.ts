import {
  PortcullisError,
  errnoOf,
  isPortcullisError,
  meaningOfErrno,
  meansDiskFull,
  meansNoSuchPath,
  reasonOf,
} from '../../../base/errors/index.ts';
import type { Failure } from '../../../base/errors/index.ts';

/** Stable error codes of `runtime/images`. */
export type ImageErrorCode =
  | 'IMAGES_BAD_ARTIFACT'
  | 'IMAGES_BAD_CHUNK_INDEX'
  | 'IMAGES_BAD_CONFIG'
  | 'IMAGES_BAD_INDEX'
  | 'IMAGES_BAD_MANIFEST'
  | 'IMAGES_CANCELLED'
  | 'IMAGES_DENIED'
  | 'IMAGES_DIFF_ID_MISMATCH'
  | 'IMAGES_DISK_FULL'
  | 'IMAGES_IMPORT_MISMATCH'
  | 'IMAGES_LAYER_BAD_LINK'
  | 'IMAGES_LAYER_BAD_NAME'
  | 'IMAGES_LAYER_CORRUPT'
  | 'IMAGES_LAYER_TOO_LARGE'
  | 'IMAGES_LAYER_TRUNCATED'
  | 'IMAGES_LAYER_UNGUARDED'
  | 'IMAGES_LAYER_UNCHECKED'
  | 'IMAGES_LAYER_UNMOUNTABLE'
  | 'IMAGES_LAYER_UNKNOWN'
  | 'IMAGES_LAYERS_UNMOUNTABLE'
  | 'IMAGES_LAYER_UNSUPPORTED'
  | 'IMAGES_LAYER_UNWRITABLE'
  | 'IMAGES_LAZY_UNSUPPORTED'
  | 'IMAGES_NAME_NOT_RECORDED'
  | 'IMAGES_NO_PLATFORM'
  | 'IMAGES_NO_POLICY'
  | 'IMAGES_NO_QUOTA'
  | 'IMAGES_NO_REPOSITORY'
  | 'IMAGES_NO_THREAD'
  | 'IMAGES_NOT_MAPPABLE'
  | 'IMAGES_NOT_DURABLE'
  | 'IMAGES_NOT_FOUND'
  | 'IMAGES_NOT_REPAIRED'
  | 'IMAGES_POLICY_STALE'
  | 'IMAGES_PULL_FAILED'
  | 'IMAGES_ROOTFS_FAILED'
  | 'IMAGES_STORE_CLOSED'
  | 'IMAGES_STORE_FAILED'
  | 'IMAGES_TOO_LARGE'
  | 'IMAGES_UNDECIDED'
  | 'IMAGES_UNPACK_OVERDUE'
  | 'IMAGES_UNSAFE_ROOTFS'
  | 'IMAGES_VOLUME_FAILED';

export type ImageFailure = Failure<ImageErrorCode>;

export function imageError(failure: ImageFailure): PortcullisError {
  return new PortcullisError(failure);
}

/**
 * Returns `thrown` if it is a PortcullisError. ENOSPC and EDQUOT become IMAGES_DISK_FULL; every other error
 * becomes the given failure with its reason, and with another remedy if the file system takes no writes.
 */
export function wrapImageError(
  thrown: unknown,
  failure: Omit<ImageFailure, 'why' | 'cause'>,
): PortcullisError {
  if (isPortcullisError(thrown)) return thrown;
  const errno = errnoOf(thrown);
  if (meansDiskFull(thrown)) {
    return imageError({
      ...failure,
      code: 'IMAGES_DISK_FULL',
      kind: 'exhausted',
      why: `the disk of the image store is full (${errno})`,
      fix: 'free space or remove images, then pull again',
      cause: thrown,
    });
  }
  // Kept for failures that a Worker reports: they arrive without their causes.
  const details = errno === undefined ? failure.details : { ...failure.details, errno };
  return imageError({
    ...failure,
    ...(details === undefined ? {} : { details }),
    why: reasonOf(thrown),
    ...(meaningOfErrno(errno) === 'read-only' ? readOnlyStore : {}),
    cause: thrown,
  });
}

const readOnlyStore = {
  kind: 'unavailable',
  why: 'the file system of the image store is read-only (EROFS)',
  fix: 'look in the kernel log for the cause, and remount the file system read-write',
} as const;

export { errnoOf };

const passingCodes = new Set(['IMAGES_DISK_FULL', 'IMAGES_NO_THREAD']);
const passingKinds = new Set(['unavailable', 'cancelled', 'deadline']);

/** Whether a failure does not concern the content of the store: the same attempt may succeed later. */
export function mayPass(thrown: unknown): boolean {
  const meaning = meaningOfErrno(errnoOf(thrown));
  // Data that the disk does not read may be damaged: a restored copy is on other blocks.
  if (meaning !== undefined) return meaning !== 'gone' && meaning !== 'no-answer';
  return isPortcullisError(thrown) && (passingCodes.has(thrown.code) || passingKinds.has(thrown.kind));
}

/**
 * Whether a failed check of stored content proves that it differs from the record: it was read and differs,
 * or something else is in its place. An I/O error of the disk, a lost Worker or a defect of this program
 * proves nothing.
 */
export function provesDamage(thrown: unknown): boolean {
  const errno = errnoOf(thrown);
  if (errno === undefined) return isPortcullisError(thrown) && thrown.kind === 'data-loss';
  return meansNoSuchPath(thrown) || errno === 'EISDIR' || errno === 'ELOOP';
}

import type { PortcullisError } from '../../base/errors/index.ts';
import type { ImageName } from './image-name.ts';
import { wrapImageError } from './limits/failures.ts';

/** Returns the error of a pull that its caller ended. */
export function cancelled(name: ImageName, signal: AbortSignal): PortcullisError {
  return wrapImageError(signal.reason, {
    code: 'IMAGES_CANCELLED',
    kind: 'cancelled',
    attempted: 'pull image',
    on: name.text,
    fix: 'pull again',
  });
}

/** Returns the error of a pull that failed. */
export function pullFailure(thrown: unknown, name: ImageName): PortcullisError {
  return wrapImageError(thrown, {
    code: 'IMAGES_PULL_FAILED',
    kind: 'internal',
    attempted: 'pull image',
    on: name.text,
    fix: 'pull again; if it repeats, see the log of the daemon',
  });
}

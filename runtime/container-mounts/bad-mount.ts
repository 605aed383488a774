import { failure } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';

/** Returns the error of a mount that a container requests and cannot get. */
export function badMount(on: string, why: string, fix: string): PortcullisError {
  return failure('RUNTIME_BAD_MOUNT', 'invalid', 'mount', on, why, fix);
}

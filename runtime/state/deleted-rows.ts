import { isPortcullisError } from '../../base/errors/index.ts';

/**
 * Handles the failure of a write that prepares a removal: the row does not exist if an earlier removal was
 * reported as failed but took effect.
 * @throws any other failure
 */
export function unlessGone(thrown: unknown): void {
  if (!isPortcullisError(thrown) || thrown.code !== 'STORAGE_CONFLICT') throw thrown;
}

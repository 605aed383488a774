import { isPortcullisError } from '../../base/errors/index.ts';

/**
 * For a write that makes ready for a removal: the row is not there where an earlier removal of it was reported as failed, and took effect.
 * @throws what else failed
 */
export function unlessGone(thrown: unknown): void {
  if (!isPortcullisError(thrown) || thrown.code !== 'STORAGE_CONFLICT') throw thrown;
}

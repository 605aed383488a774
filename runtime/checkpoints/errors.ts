import { failure } from '../../base/errors/index.ts';
import type { ErrorKind, PortcullisError } from '../../base/errors/index.ts';

/** Returns the error of a checkpoint that was not written. */
export function checkpointFailed(
  code: string,
  kind: ErrorKind,
  on: string,
  why: string,
  fix: string,
): PortcullisError {
  const where = on.slice(0, 300);
  return failure(code, kind, 'write checkpoint of container', where, why.replaceAll(';', ','), fix);
}

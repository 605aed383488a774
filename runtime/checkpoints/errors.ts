import { failure } from '../../base/errors/index.ts';
import type { ErrorKind, PortcullisError } from '../../base/errors/index.ts';

/**
 * Returns the error of a checkpoint that was not written.
 * @param on the container, or the path of the archive or of another file
 */
export function checkpointFailed(
  code: string,
  kind: ErrorKind,
  on: string | { readonly file: string },
  why: string,
  fix: string,
): PortcullisError {
  const [attempted, what] =
    typeof on === 'string'
      ? (['write checkpoint of container', on] as const)
      : (['write checkpoint to', JSON.stringify(on.file)] as const);
  return failure(code, kind, attempted, what.slice(0, 300), why.replaceAll(';', ','), fix);
}

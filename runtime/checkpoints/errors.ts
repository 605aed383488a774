import { PortcullisError } from '../../base/errors/index.ts';
import type { ErrorKind } from '../../base/errors/index.ts';

/** Returns the error of a checkpoint that was not written. */
export function checkpointFailed(
  code: string,
  kind: ErrorKind,
  on: string,
  why: string,
  fix: string,
): PortcullisError {
  return new PortcullisError({
    code,
    kind,
    attempted: 'write checkpoint of container',
    on: on.slice(0, 300),
    why: why.replaceAll(';', ','),
    fix,
  });
}

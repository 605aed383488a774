import { failure } from '../../../base/errors/index.ts';
import type { ErrorKind, PortcullisError } from '../../../base/errors/index.ts';

/** Returns the error of a container that is not restored. */
export function restoreRefused(
  code:
    | 'RUNTIME_RESTORE_UNSIGNED'
    | 'RUNTIME_RESTORE_BASE'
    | 'RUNTIME_RESTORE_ARCHIVE'
    | 'RUNTIME_RESTORE_RIGHTS'
    | 'RUNTIME_RESTORE_UNSUPPORTED'
    | 'RUNTIME_RESTORED_OTHERWISE',
  kind: ErrorKind,
  on: string,
  why: string,
  fix: string,
): PortcullisError {
  return failure(
    code,
    kind,
    'restore container from checkpoint',
    on.slice(0, 300),
    why.replaceAll(';', ','),
    fix,
  );
}

/** Returns the error for an archive that is not the archive of a checkpoint. */
export function badArchive(on: string, why: string): PortcullisError {
  return restoreRefused(
    'RUNTIME_RESTORE_ARCHIVE',
    'invalid',
    on,
    why,
    'write the checkpoint again, and build its image from the whole archive',
  );
}

/** Returns the error for a container, or a node, for which restores are not supported. */
export function unsupported(on: string, why: string): PortcullisError {
  return restoreRefused(
    'RUNTIME_RESTORE_UNSUPPORTED',
    'precondition',
    on,
    why,
    'create the container from its own image, or change the pod as docs/checkpoints.md describes',
  );
}

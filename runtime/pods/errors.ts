import { PortcullisError } from '../../base/errors/index.ts';
import type { SandboxRecord } from './record.ts';

/** @param isLost the sandbox is ready on record, and no longer exists */
export function nameTaken(existing: SandboxRecord, isLost: boolean): PortcullisError {
  const stopped = isLost || existing.phase !== 'ready';
  return new PortcullisError({
    code: 'RUNTIME_SANDBOX_NAME_TAKEN',
    kind: 'already-exists',
    attempted: 'run pod sandbox',
    on: existing.name,
    why: stopped
      ? `sandbox ${existing.id.slice(0, 13)} has this name and is not running`
      : `sandbox ${existing.id.slice(0, 13)} has this name and was requested with another configuration`,
    fix: 'remove that sandbox, or use another metadata.attempt',
    details: { sandboxId: existing.id },
  });
}

export function sandboxNotFound(id: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_SANDBOX_NOT_FOUND',
    kind: 'not-found',
    attempted: 'find pod sandbox',
    on: id,
    why: 'the sandbox does not exist',
    fix: 'list sandboxes and use one of their ids',
  });
}

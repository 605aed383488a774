import { PortcullisError } from '../../base/errors/index.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { ContainerRecord } from './record.ts';

export function containerNotFound(id: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CONTAINER_NOT_FOUND',
    kind: 'not-found',
    attempted: 'find container',
    on: id,
    why: 'the container does not exist',
    fix: 'list containers and use one of their ids',
  });
}

export function noConfiguration(sandbox: SandboxRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_CONTAINER',
    kind: 'invalid',
    attempted: 'create container',
    on: `in sandbox ${sandbox.id.slice(0, 13)}`,
    why: 'the request contains no container configuration with metadata.name',
    fix: 'send `config.metadata.name`',
  });
}

export function nameTaken(existing: ContainerRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CONTAINER_NAME_TAKEN',
    kind: 'already-exists',
    attempted: 'create container',
    on: existing.name,
    why: `container ${existing.id.slice(0, 13)} has this name (${existing.phase})`,
    fix: 'remove that container, or use another metadata.attempt',
    details: { containerId: existing.id },
  });
}

export function notReady(sandbox: SandboxRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_SANDBOX_NOT_READY',
    kind: 'precondition',
    attempted: 'use pod sandbox',
    on: sandbox.id.slice(0, 13),
    why: `it is ${sandbox.phase}`,
    fix: 'run a new sandbox',
  });
}

/** Returns the error of a container that is being created while its pod is stopped. */
export function podIsStopped(sandbox: SandboxRecord): PortcullisError {
  return new PortcullisError({
    ...notReady(sandbox).failure,
    attempted: 'create a container in pod sandbox',
    why: 'the sandbox is being stopped',
  });
}

/** Returns the error of a start or an update that the end of the container cuts off. */
export function isEnded(id: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CONTAINER_WRONG_STATE',
    kind: 'precondition',
    attempted: 'start or update container',
    on: id.slice(0, 13),
    why: 'it is being stopped',
    fix: 'create it again',
  });
}

export function wrongPhase(record: ContainerRecord, attempted: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CONTAINER_WRONG_STATE',
    kind: 'precondition',
    attempted: `${attempted} container`,
    on: record.id.slice(0, 13),
    why: record.phase === 'removing' ? 'it is being removed' : `it is ${record.phase}`,
    fix,
  });
}

/** Returns the error for a request that only a running container can serve. */
export function notRunning(record: ContainerRecord, attempted: string): PortcullisError {
  const hasEnded = record.phase === 'exited' || record.phase === 'removing';
  return wrongPhase(record, attempted, hasEnded ? 'create a new container' : 'start it first');
}

/** The OCI runtime refused to make this container when it was created. */
export function notStartable(record: ContainerRecord): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_START_FAILED',
    kind: 'precondition',
    attempted: 'start container',
    on: record.id.slice(0, 13),
    why: record.startFailure ?? 'the OCI runtime gave no reason',
    fix: 'correct the setting that the runtime names, such as the command or its arguments',
  });
}

import { PortcullisError } from '../../base/errors/index.ts';
import type { ContainerPhase } from './record.ts';

export type ContainerEvent = 'monitor-holds-it' | 'start-asked' | 'started' | 'exited' | 'remove-asked';

const transitions: Readonly<Record<ContainerPhase, Partial<Record<ContainerEvent, ContainerPhase>>>> = {
  creating: { 'monitor-holds-it': 'created', 'remove-asked': 'removing' },
  created: { 'start-asked': 'starting', exited: 'exited', 'remove-asked': 'removing' },
  // A short-lived process may exit before its start is recorded.
  starting: { started: 'running', exited: 'exited', 'remove-asked': 'removing' },
  running: { exited: 'exited', 'remove-asked': 'removing' },
  exited: { exited: 'exited', started: 'exited', 'remove-asked': 'removing' },
  removing: { 'remove-asked': 'removing', exited: 'removing' },
};

/**
 * Returns the phase that follows. Pure.
 * @throws PortcullisError RUNTIME_ILLEGAL_TRANSITION: a defect of the caller, never of a user's input
 */
export function nextContainerPhase(phase: ContainerPhase, event: ContainerEvent): ContainerPhase {
  const next = transitions[phase][event];
  if (next === undefined) {
    throw new PortcullisError({
      code: 'RUNTIME_ILLEGAL_TRANSITION',
      kind: 'internal',
      attempted: 'change the phase of a container',
      on: `${phase} by ${event}`,
      why: 'the state machine has no such transition',
      fix: 'report this with the log of the daemon',
    });
  }
  return next;
}

import { nextPhase } from '../state/next-phase.ts';
import type { Transitions } from '../state/next-phase.ts';
import type { ContainerPhase } from './record.ts';

export type ContainerEvent = 'monitor-holds-it' | 'start-asked' | 'started' | 'exited' | 'remove-asked';

const transitions: Transitions<ContainerPhase, ContainerEvent> = {
  creating: { 'monitor-holds-it': 'created', 'remove-asked': 'removing' },
  created: { 'start-asked': 'starting', exited: 'exited', 'remove-asked': 'removing' },
  // A short-lived process may exit before its start is recorded.
  starting: { started: 'running', exited: 'exited', 'remove-asked': 'removing' },
  running: { exited: 'exited', 'remove-asked': 'removing' },
  exited: { exited: 'exited', started: 'exited', 'remove-asked': 'removing' },
  removing: { 'remove-asked': 'removing', exited: 'removing' },
};

/** Returns the phase that follows. Pure. @throws as {@link nextPhase} */
export function nextContainerPhase(phase: ContainerPhase, event: ContainerEvent): ContainerPhase {
  return nextPhase('container', transitions, phase, event);
}

/** Reports whether a value is the name of a phase. */
export function isContainerPhase(value: unknown): boolean {
  return typeof value === 'string' && Object.hasOwn(transitions, value);
}

import { nextPhase } from '../state/next-phase.ts';
import type { Transitions } from '../state/next-phase.ts';
import type { SandboxPhase } from './record.ts';

export type SandboxEvent = 'established' | 'stop-asked' | 'resources-released';

const transitions: Transitions<SandboxPhase, SandboxEvent> = {
  creating: { established: 'ready', 'stop-asked': 'stopping' },
  ready: { 'stop-asked': 'stopping' },
  stopping: { 'stop-asked': 'stopping', 'resources-released': 'stopped' },
  stopped: { 'stop-asked': 'stopped', 'resources-released': 'stopped' },
};

/** Returns the phase that follows. Pure. @throws as {@link nextPhase} */
export function nextSandboxPhase(phase: SandboxPhase, event: SandboxEvent): SandboxPhase {
  return nextPhase('sandbox', transitions, phase, event);
}

/** Reports whether a value is the name of a phase. */
export function isSandboxPhase(value: unknown): boolean {
  return typeof value === 'string' && Object.hasOwn(transitions, value);
}

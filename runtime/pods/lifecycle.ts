import { PortcullisError } from '../../base/errors/index.ts';
import type { SandboxPhase } from './record.ts';

export type SandboxEvent = 'established' | 'stop-asked' | 'resources-released';

const transitions: Readonly<Record<SandboxPhase, Partial<Record<SandboxEvent, SandboxPhase>>>> = {
  creating: { established: 'ready', 'stop-asked': 'stopping' },
  ready: { 'stop-asked': 'stopping' },
  stopping: { 'stop-asked': 'stopping', 'resources-released': 'stopped' },
  stopped: { 'stop-asked': 'stopped', 'resources-released': 'stopped' },
};

/**
 * Returns the phase that follows. Pure.
 * @throws PortcullisError RUNTIME_ILLEGAL_TRANSITION: a defect of the caller, never of a user's input
 */
export function nextSandboxPhase(phase: SandboxPhase, event: SandboxEvent): SandboxPhase {
  const next = transitions[phase][event];
  if (next === undefined) {
    throw new PortcullisError({
      code: 'RUNTIME_ILLEGAL_TRANSITION',
      kind: 'internal',
      attempted: 'change the phase of a sandbox',
      on: `${phase} by ${event}`,
      why: 'the state machine has no such transition',
      fix: 'report this with the log of the daemon',
    });
  }
  return next;
}

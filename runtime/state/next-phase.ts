import { PortcullisError } from '../../base/errors/index.ts';

/** For each phase, the events that may happen in it, and the phase that follows. */
export type Transitions<Phase extends string, Event extends string> = Readonly<
  Record<Phase, Partial<Record<Event, Phase>>>
>;

/**
 * Returns the phase that follows. Pure.
 * @param what the object that has the phase, for the error
 * @throws PortcullisError RUNTIME_ILLEGAL_TRANSITION: a defect of the caller, never of a user's input
 */
export function nextPhase<Phase extends string, Event extends string>(
  what: string,
  transitions: Transitions<Phase, Event>,
  phase: Phase,
  event: Event,
): Phase {
  const next = transitions[phase][event];
  if (next !== undefined) return next;
  throw new PortcullisError({
    code: 'RUNTIME_ILLEGAL_TRANSITION',
    kind: 'internal',
    attempted: `change the phase of a ${what}`,
    on: `${phase} by ${event}`,
    why: 'the state machine has no such transition',
    fix: 'report this with the log of the daemon',
  });
}

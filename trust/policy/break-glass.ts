import type { BreakGlass, Requirement, TrustPolicy } from '../types.ts';

/** Whether the glass is broken at this time. One that has ended, or whose end can not be read, is not there. */
export function inForce(breakGlass: BreakGlass | undefined, now: Date): breakGlass is BreakGlass {
  return breakGlass !== undefined && now.getTime() < Date.parse(breakGlass.until);
}

/** A rule that does not refuse, or whose exception has ended: what listings show. */
export interface StandingException {
  /** `logs`: a Notary Project level that only logs whether a signature is authentic: whoever signs is admitted. */
  readonly kind: 'break-glass' | 'report' | 'logs';
  readonly rule: string;
  readonly images: readonly string[];
  readonly until?: string;
  readonly reason?: string;
  readonly by?: string;
  /** Broken glass whose time is over: it is not there, and should be removed. */
  readonly ended: boolean;
}

/** Every exception that a policy makes. */
export function standingExceptions(policy: TrustPolicy, now: Date): readonly StandingException[] {
  return policy.rules.flatMap(({ name, images, breakGlass, mode, require }): StandingException[] => [
    ...(breakGlass === undefined
      ? []
      : [{ kind: 'break-glass', rule: name, images, ...breakGlass, ended: !inForce(breakGlass, now) } as const]),
    ...(mode === 'report' ? [{ kind: 'report', rule: name, images, ended: false } as const] : []),
    ...(require !== undefined && logsOnly(require) ? [{ kind: 'logs', rule: name, images, ended: false } as const] : []),
  ]);
}

/** Whether some part of a demand is met by a signature of nobody in particular. */
function logsOnly(requirement: Requirement): boolean {
  if ('of' in requirement) return requirement.of.some(logsOnly);
  return requirement.kind === 'notation' && requirement.actions.authenticity !== 'enforce';
}

import type { BreakGlass, Requirement, TrustPolicy } from '../requirements/types.ts';

/**
 * Whether break-glass is in force at this time. Break-glass that has ended, or whose end cannot be read, is
 * not in force.
 */
export function inForce(breakGlass: BreakGlass | undefined, now: Date): breakGlass is BreakGlass {
  return breakGlass !== undefined && now.getTime() < Date.parse(breakGlass.until);
}

/**
 * An exception as listings show it: break-glass (also after its end), a rule that only reports, or a level
 * that only logs.
 */
export interface StandingException {
  /**
   * `logs`: a Notary Project level that only logs whether a signature is authentic, so that any signer is
   * admitted.
   */
  readonly kind: 'break-glass' | 'report' | 'logs';
  readonly rule: string;
  readonly images: readonly string[];
  readonly until?: string;
  readonly reason?: string;
  readonly by?: string;
  /** Whether the break-glass has ended. It is then no longer in force and should be removed. */
  readonly ended: boolean;
}

/** Returns every exception that a policy makes. */
export function standingExceptions(policy: TrustPolicy, now: Date): readonly StandingException[] {
  return policy.rules.flatMap(({ name, images, breakGlass, mode, require }): StandingException[] => [
    ...(breakGlass === undefined
      ? []
      : [
          {
            kind: 'break-glass',
            rule: name,
            images,
            ...breakGlass,
            ended: !inForce(breakGlass, now),
          } as const,
        ]),
    ...(mode === 'report' ? [{ kind: 'report', rule: name, images, ended: false } as const] : []),
    ...(require !== undefined && logsOnly(require)
      ? [{ kind: 'logs', rule: name, images, ended: false } as const]
      : []),
  ]);
}

/** Whether a signature by an arbitrary signer meets some part of the requirement. */
function logsOnly(requirement: Requirement): boolean {
  if ('of' in requirement) return requirement.of.some(logsOnly);
  return requirement.kind === 'notation' && requirement.actions.authenticity !== 'enforce';
}

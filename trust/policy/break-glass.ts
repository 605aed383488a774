import type { BreakGlass } from '../types.ts';

/** Whether the glass is broken at this time. One that has ended, or whose end can not be read, is not there. */
export function inForce(breakGlass: BreakGlass | undefined, now: Date): breakGlass is BreakGlass {
  return breakGlass !== undefined && now.getTime() < Date.parse(breakGlass.until);
}

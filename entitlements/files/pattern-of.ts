import { entitlementsError } from '../errors.ts';
import { parsePathPattern } from './path-pattern.ts';
import type { PatternSequence } from './path-pattern.ts';

/**
 * Returns the pattern of a text that was validated when it was read.
 * @throws ENTITLEMENTS_BAD_PROFILE for a text that was not validated
 */
export function patternOf(text: string): PatternSequence {
  const found = parsePathPattern(text);
  if ('pattern' in found) return found.pattern;
  const { at, message, fix } = found.problem;
  throw entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read path pattern',
    on: text.slice(0, 200),
    why: `at character ${at + 1}: ${message}`,
    fix,
    details: { at },
  });
}

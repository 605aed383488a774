import { checks } from './mutant.ts';

/** The enforcement control, which tests a planted pair of images. */
export const mutants = checks([
  [
    'runtime/enforcement/planted.ts',
    "if (refused.kind === 'admitted')",
    'if (false as boolean)',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/enforcement/planted.ts',
    "looked: codes.includes('TRUST_RULE_UNSATISFIED')",
    'looked: true',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/enforcement/planted.ts',
    "refused.kind === 'denied' ? 'VERIFIER_REFUSES_ALL' : 'PLANTED_SIGNED_REFUSED'",
    "'PLANTED_SIGNED_REFUSED'",
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/enforcement/planted.ts',
    'mirror !== undefined && admitted.unsigned',
    'mirror !== undefined',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/enforcement/planted.ts',
    "admitted.kind === 'admitted' && admitted.verdict.unverified",
    'false',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/findings/policy-findings.ts',
    'else if (!seen.matches(rule))',
    'else if (false as boolean)',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/findings/policy-findings.ts',
    "if (kind === 'report')",
    'if (false as boolean)',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/findings/policy-findings.ts',
    '- now.getTime() > longestMs ?',
    '- now.getTime() > Infinity ?',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/findings/policy-findings.ts',
    'if (any && rule.allowUnverified)',
    'if (false as boolean)',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/findings/requirements.ts',
    'return requirement.of.some(anyoneMeets);',
    'return requirement.of.every(anyoneMeets);',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/enforcement/enforcement.ts',
    "if (counted.some(({ effect }) => effect === 'fail')) return 'fail';",
    '',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/enforcement/enforcement.ts',
    'if (stop.signal.aborted || running !== undefined) return;',
    'if (stop.signal.aborted) return;',
    'runtime/enforcement/ways.test.ts',
  ],
  [
    'runtime/findings/clock.ts',
    'Math.abs(next - offset) > jumpMs',
    'false',
    'runtime/enforcement/ways.test.ts',
  ],
  ['trust/policy/coverage.ts', 'other.namespaces === undefined &&', '', 'trust/policy/coverage.test.ts'],
]);

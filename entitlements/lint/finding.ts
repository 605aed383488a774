import { formatPath } from '../../base/schema/index.ts';
import type { Document, PathSegment, Position } from '../../base/schema/index.ts';

/** Every code of a finding and its meaning. */
export const LINT_CODES = {
  'int-arg-high-bits':
    'A condition compares bits of an argument that the kernel does not read: a call that it denies passes with such a bit set.',
  'shadowed-rule':
    'The rule changes nothing: another rule, a parent, an entitlement or the default already says the same.',
  'dead-grant': 'The grant cannot be used: something else that it needs is missing or denied.',
  'void-bound': 'Another grant of the profile allows raising the limit, or makes it ineffective.',
  'broad-grant': 'The grant reaches far beyond one container, or beyond what its name says.',
  'write-execute':
    'The container may both write and run these files: an attacker who breaks in can bring a program.',
  'unused-parameter': 'A parameter is declared and nothing refers to it.',
} as const;

export type LintCode = keyof typeof LINT_CODES;

/** Something that a profile allows and that is probably not intended. */
export interface Finding {
  readonly code: LintCode;
  readonly position: Position;
  /** A path such as `syscalls.add[0]`. */
  readonly path: string;
  readonly message: string;
  readonly fix: string;
}

/** Reports a finding at a position. */
export type Find = (
  code: LintCode,
  path: readonly PathSegment[],
  message: string,
  fix: string,
  part?: 'value' | 'key',
) => void;

/** Collects the findings of one document. */
export function finder(document: Pick<Document, 'positionOf'>): {
  readonly find: Find;
  readonly findings: Finding[];
} {
  const findings: Finding[] = [];
  return {
    findings,
    find: (code, path, message, fix, part = 'value') => {
      findings.push({
        code,
        position: document.positionOf(path, part),
        path: formatPath(path),
        message,
        fix,
      });
    },
  };
}

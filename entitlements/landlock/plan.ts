import type { LandlockRule } from '../types.ts';
import { fileExcess } from '../compare/files.ts';
import { newBudget } from '../files/automaton.ts';
import type { PatternNode } from '../files/path-pattern.ts';
import { alternativesOf, formatSequence } from '../files/meet-patterns.ts';
import { patternOf } from '../files/pattern-of.ts';
import { SLASH, bytesOf } from '../files/byte-set.ts';
import { tooComplex } from '../files/automaton.ts';
import type { FileRules } from '../profile/model.ts';
import type { FileAccess } from '../types.ts';

export interface LandlockPlan {
  /** Sorted by path. Together they grant everything that the file rules grant. */
  readonly rules: readonly LandlockRule[];
  /** Access that they grant in addition: empty if Landlock can enforce the rules exactly. */
  readonly beyond: readonly {
    readonly access: FileAccess;
    readonly pattern: string;
    readonly rule: string;
    readonly path: string;
  }[];
}

/** With more rules, the launcher would exceed a few kilobytes. */
const MAX_RULES = 1000;

/**
 * Returns the closest Landlock rules that include the file rules. Landlock supports files and whole
 * hierarchies, and can only grant. A pattern becomes the folder before its first wildcard, and automata
 * decide exactly whether that is more than the profile grants. Source:
 * Documentation/userspace-api/landlock.rst of Linux 6.18.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function planLandlock(files: readonly FileRules[]): LandlockPlan {
  const byPlace = new Map<
    string,
    { readonly path: string; readonly kind: 'file' | 'folder'; readonly access: Set<FileAccess> }
  >();
  const origins = new Map<string, string>();
  /** Access that a rule of the profile grants in the same words, which needs no automaton. */
  const literal = new Set<string>();
  for (const { allow, deny } of files) {
    const denied = new Set(deny.flatMap(({ access }) => access));
    for (const { pattern, access } of allow) {
      for (const sequence of alternativesOf(patternOf(pattern))) {
        const { path, kind } = closest(sequence);
        const place = byPlace.get(`${kind} ${path}`) ?? { path, kind, access: new Set() };
        const isSame = formatSequence(sequence) === patternText({ path, kind });
        access.forEach((name) => {
          place.access.add(name);
          origins.set(`${kind} ${path} ${name}`, pattern);
          if (isSame && !denied.has(name)) literal.add(`${kind} ${path} ${name}`);
        });
        byPlace.set(`${kind} ${path}`, place);
      }
    }
  }
  if (byPlace.size > MAX_RULES) throw tooComplex('express file rules by Landlock');
  const rules = [...byPlace.values()]
    .map(({ path, kind, access }): LandlockRule => ({ path, kind, access: [...access].sort() }))
    .sort((a, b) => (`${a.path} ${a.kind}` < `${b.path} ${b.kind}` ? -1 : 1));
  const budget = newBudget();
  const beyond = rules.flatMap((rule) =>
    rule.access.flatMap((access) => {
      if (literal.has(`${rule.kind} ${rule.path} ${access}`)) return [];
      const granted = [{ allow: [{ pattern: patternText(rule), access: [access] }], deny: [] }];
      const excess = fileExcess(files, granted, budget);
      const pattern = origins.get(`${rule.kind} ${rule.path} ${access}`) ?? '';
      return excess === undefined ? [] : [{ access, pattern, rule: patternText(rule), path: excess.path }];
    }),
  );
  return { rules, beyond };
}

/** Returns the paths that a rule covers, as a pattern. */
function patternText({ path, kind }: Pick<LandlockRule, 'kind' | 'path'>): string {
  const literal = path.replace(/[*?[\]{}\\,]/g, '\\$&');
  return kind === 'file' ? literal : `${path === '/' ? '' : literal}/**`;
}

/** Returns the file that a sequence without wildcards names, or the folder that contains all its matches. */
function closest(sequence: readonly Exclude<PatternNode, { kind: 'alternatives' }>[]): {
  path: string;
  kind: 'file' | 'folder';
} {
  const isSlash = ({ kind, of }: PatternNode): boolean => kind === 'byte' && of === 1n << BigInt(SLASH);
  const wild = sequence.findIndex(({ kind, of }) => kind === 'any' || bytesOf(of).length !== 1);
  const literal = wild < 0 ? sequence : sequence.slice(0, wild);
  const slash = literal.findLastIndex(isSlash);
  if (wild < 0 && slash !== sequence.length - 1) return { path: unescaped(literal), kind: 'file' };
  return { path: slash <= 0 ? '/' : unescaped(literal.slice(0, slash)), kind: 'folder' };
}

function unescaped(literal: readonly Exclude<PatternNode, { kind: 'alternatives' }>[]): string {
  return formatSequence(literal).replace(/\\(.)/g, '$1');
}

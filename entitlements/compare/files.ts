import { findPath, matchesPath, newBudget, tooComplex } from '../files/automaton.ts';
import type { Budget } from '../files/automaton.ts';
import { meetPatterns } from '../files/meet-patterns.ts';
import { patternOf } from '../files/pattern-of.ts';
import type { FileRule, FileRules } from '../profile/model.ts';
import type { FileAccess } from '../types.ts';

export const FILE_ACCESSES: readonly FileAccess[] = ['execute', 'read', 'write'];
/** The order in which witnesses are searched. */
const BY_WEIGHT: readonly FileAccess[] = ['write', 'read', 'execute'];

/** Each member grants its own rules. Together they grant what any of them grants. Absent: everything. */
type Files = readonly FileRules[] | undefined;

const MAX_MEMBERS = 64;
const MAX_RULES = 4096;

/** Returns what both grant. @throws ENTITLEMENTS_TOO_COMPLEX */
export function meetFiles(a: Files, b: Files): Files {
  if (a === undefined || b === undefined) return a ?? b;
  if (same(a, b)) return a;
  const budget = newBudget();
  return simplified(
    a.flatMap((one) => b.map((other) => meetMembers(one, other, budget))),
    budget,
  );
}

/** Returns what either grants. @throws ENTITLEMENTS_TOO_COMPLEX */
export function joinFiles(a: Files, b: Files): Files {
  if (a === undefined || b === undefined) return undefined;
  if (same(a, b)) return a;
  return simplified([...a, ...b], newBudget());
}

function same(a: readonly FileRules[], b: readonly FileRules[]): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function meetMembers(a: FileRules, b: FileRules, budget: Budget): FileRules {
  if (same([a], [b])) return a;
  const allow = a.allow.flatMap((one) =>
    b.allow.flatMap((other) => {
      const access = one.access.filter((name) => other.access.includes(name));
      return access.length === 0
        ? []
        : meetPatterns(one.pattern, other.pattern, budget).map((pattern) => ({ pattern, access }));
    }),
  );
  return { allow: fileRules(allow), deny: fileRules([...a.deny, ...b.deny]) };
}

/**
 * Returns the rules as one equivalent member, for an enforcer that supports only allowed and denied patterns.
 * @throws ENTITLEMENTS_TOO_COMPLEX if one member is not enough, as after a join of profiles with different
 * denials
 */
export function asOneMember(files: readonly FileRules[]): FileRules {
  const [first, ...others] = files;
  if (first === undefined) return { allow: [], deny: [] };
  if (others.length === 0) return first;
  const deny = first.deny.filter((rule) =>
    others.every((other) => other.deny.some((theirs) => JSON.stringify(theirs) === JSON.stringify(rule))),
  );
  const one = { allow: fileRules(files.flatMap(({ allow }) => allow)), deny };
  if (fileExcess(files, [one]) !== undefined) throw tooComplex('express file rules');
  return one;
}

/**
 * Returns rules in their simplest form that needs no automaton: one per pattern, sorted. @throws
 * ENTITLEMENTS_TOO_COMPLEX above 4096
 */
function fileRules(rules: readonly FileRule[]): FileRule[] {
  const byPattern = new Map<string, Set<FileAccess>>();
  for (const { pattern, access } of rules) {
    const found = byPattern.get(pattern) ?? new Set();
    access.forEach((name) => found.add(name));
    byPattern.set(pattern, found);
  }
  if (byPattern.size > MAX_RULES) throw tooComplex();
  return [...byPattern]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([pattern, access]) => ({ pattern, access: FILE_ACCESSES.filter((name) => access.has(name)) }));
}

/** Returns the members without those that another one covers. */
function simplified(members: readonly FileRules[], budget: Budget): FileRules[] {
  const distinct = [...new Map(members.map((member) => [JSON.stringify(member), member])).values()].filter(
    ({ allow }) => allow.length > 0,
  );
  if (distinct.length > MAX_MEMBERS) throw tooComplex();
  const left = new Set(distinct);
  for (const one of distinct) {
    if ([...left].some((other) => other !== one && fileExcess([other], [one], budget) === undefined))
      left.delete(one);
  }
  return [...left];
}

/**
 * Returns an access that `inner` grants and `outer` does not. Its path is a well-known or a shortest one.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function fileExcess(
  outer: Files,
  inner: Files,
  budget = newBudget(),
): { readonly access: FileAccess; readonly path: string } | undefined {
  if (outer === undefined || outer === inner) return undefined;
  const granted = inner ?? [{ allow: [{ pattern: '/**', access: FILE_ACCESSES }], deny: [] }];
  for (const access of BY_WEIGHT) {
    const path =
      TELLING.find((known) => grants(granted, access, known) && !grants(outer, access, known)) ??
      excessOf(access, outer, granted, budget);
    if (path !== undefined) return { access, path };
  }
  return undefined;
}

/** Paths that mean more to a reader than a shortest one. They are tried first. */
const TELLING = ['/etc/shadow', '/etc/passwd', '/bin/sh', '/proc/1/mem', '/dev/mem', '/tmp/x'];

/** Returns whether this access to this path is granted. */
export function grants(files: readonly FileRules[], access: FileAccess, path: string): boolean {
  const matched = (rules: readonly FileRule[]): boolean =>
    matching(rules, access).some((pattern) => matchesPath(pattern, path));
  return files.some(({ allow, deny }) => matched(allow) && !matched(deny));
}

/** Returns the tags of an automaton: by side and member, its allowed and its denied patterns. */
function tagsOf(side: number, member: number): { readonly allow: number; readonly deny: number } {
  const first = (member * 2 + side) * 2;
  return { allow: first, deny: first + 1 };
}

function excessOf(
  access: FileAccess,
  outer: readonly FileRules[],
  inner: readonly FileRules[],
  budget: Budget,
): string | undefined {
  const sides = [inner, outer];
  const patterns = sides.flatMap((members, side) =>
    members.flatMap(({ allow, deny }, member) => {
      const tags = tagsOf(side, member);
      return [
        ...matching(allow, access).map((pattern) => ({ pattern, tag: tags.allow })),
        ...matching(deny, access).map((pattern) => ({ pattern, tag: tags.deny })),
      ];
    }),
  );
  return findPath(
    patterns,
    (matched) => {
      const [byInner, byOuter] = sides.map((members, side) =>
        members.some((_, member) => {
          const { allow, deny } = tagsOf(side, member);
          return matched(allow) && !matched(deny);
        }),
      );
      return byInner === true && byOuter !== true;
    },
    budget,
  );
}

function matching(rules: readonly FileRule[], access: FileAccess) {
  return rules.filter((rule) => rule.access.includes(access)).map(({ pattern }) => patternOf(pattern));
}

import { createHash } from 'node:crypto';
import { mostPatternLength } from '../tuf-metadata/limits.ts';
import type { DelegationScope, Targets } from '../tuf-metadata/model.ts';

/** A role that may sign for a path. */
export interface Delegate {
  readonly name: string;
  /** No later role is searched, whatever this role says. */
  readonly terminating: boolean;
}

/**
 * Returns the roles to which `targets` delegates the path, in order (TUF specification 1.0.34, section
 * 5.6.7). Pure.
 */
export function delegatesFor({ delegations }: Targets, path: string): Delegate[] {
  if (delegations === undefined) return [];
  const { roles, succinct } = delegations;
  if (succinct !== undefined) {
    const bin = binOf(path, succinct.bits);
    const digits = Math.ceil(succinct.bits / 4);
    return [{ name: `${succinct.namePrefix}-${bin.toString(16).padStart(digits, '0')}`, terminating: true }];
  }
  return roles
    .filter(({ scope }) => covers(scope, path))
    .map(({ name, terminating }) => ({ name, terminating }));
}

/** Returns whether a delegation covers the path. */
export function covers(scope: DelegationScope, path: string): boolean {
  switch (scope.kind) {
    case 'patterns':
      return path.length <= mostPatternLength && scope.patterns.some((pattern) => matchesPath(pattern, path));
    case 'hash-prefixes': {
      const hash = createHash('sha256').update(path).digest('hex');
      return scope.prefixes.some((prefix) => hash.startsWith(prefix.toLowerCase()));
    }
    case 'prefixes':
      return scope.prefixes.some((prefix) => path.startsWith(prefix));
  }
}

function binOf(path: string, bits: number): number {
  return createHash('sha256').update(path).digest().readUInt32BE(0) >>> (32 - bits);
}

/** Matches shell wildcards folder by folder: a wildcard never crosses a `/` (section 4.5, PATHPATTERN). */
function matchesPath(pattern: string, path: string): boolean {
  const [wanted, given] = [pattern.split('/'), path.split('/')];
  return (
    wanted.length === given.length &&
    wanted.every((part, index) => matchesName(partsOf(part), Array.from(given[index] ?? '')))
  );
}

/** One part of a pattern: a literal character, any character, any run of characters, or one of a set. */
type Part = string | typeof anyOne | typeof anyRun | readonly string[];
const anyOne = Symbol('?');
const anyRun = Symbol('*');

/** Splits a pattern into its parts. A `[` without its `]` is a literal character. */
function partsOf(pattern: string): Part[] {
  const characters = Array.from(pattern);
  const parts: Part[] = [];
  let hasEnd = true;
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at] as string;
    // A missing `]` is searched for only once. Otherwise a run of `[` would be scanned from each of them.
    const end =
      character === '[' && hasEnd
        ? characters.indexOf(']', characters[at + 1] === '!' ? at + 3 : at + 2)
        : -1;
    if (character === '[' && end === -1) hasEnd = false;
    if (end !== -1) {
      parts.push(characters.slice(at + 1, end));
      at = end;
    } else parts.push(character === '*' ? anyRun : character === '?' ? anyOne : character);
  }
  return parts;
}

/** Matches in time linear in pattern times name, because it backtracks to the last `*` only. */
function matchesName(pattern: readonly Part[], name: readonly string[]): boolean {
  let [at, from] = [0, 0];
  let star: { at: number; from: number } | undefined;
  while (from < name.length) {
    const part = pattern[at];
    if (part === anyRun) {
      star = { at, from };
      at += 1;
    } else if (part !== undefined && matchesOne(part, name[from] ?? '')) {
      at += 1;
      from += 1;
    } else if (star !== undefined) {
      star = { at: star.at, from: star.from + 1 };
      [at, from] = [star.at + 1, star.from];
    } else return false;
  }
  while (pattern[at] === anyRun) at += 1;
  return at === pattern.length;
}

function matchesOne(part: Exclude<Part, typeof anyRun>, character: string): boolean {
  if (part === anyOne) return true;
  return typeof part === 'string' ? part === character : inSet(part, character);
}

function inSet(set: readonly string[], character: string): boolean {
  const negated = set[0] === '!';
  const members = negated ? set.slice(1) : set;
  let found = false;
  for (let index = 0; index < members.length; index += 1) {
    const [low, dash, high] = [members[index] ?? '', members[index + 1], members[index + 2]];
    if (dash === '-' && high !== undefined) {
      found ||= low <= character && character <= high;
      index += 2;
    } else found ||= low === character;
  }
  return found !== negated;
}

import { ANY_BYTE, NAME_BYTE, SLASH, byteRange, singleByte } from './byte-set.ts';
import type { ByteSet } from './byte-set.ts';

/**
 * One part of a pattern: a byte of a set, any number of bytes of a set, or one of several sequences. Patterns
 * are over the bytes of UTF-8, like the kernel's paths.
 */
export type PatternNode =
  | { readonly kind: 'byte'; readonly of: ByteSet }
  | { readonly kind: 'any'; readonly of: ByteSet }
  | { readonly kind: 'alternatives'; readonly of: readonly PatternSequence[] };

export type PatternSequence = readonly PatternNode[];

/** An error in a pattern, and its position: `at` counts UTF-16 units of its text from 0. */
export interface PatternProblem {
  readonly at: number;
  readonly message: string;
  readonly fix: string;
}

const MAX_LENGTH = 4096;
const MAX_DEPTH = 8;

type Parsed = { readonly pattern: PatternSequence } | { readonly problem: PatternProblem };

const remembered = new Map<string, Parsed>();
const MAX_REMEMBERED = 4096;

/**
 * Parses a path pattern (profile/model.ts, `PathPattern`). Folders end in `/`: `/app/**` is the folder
 * `/app/` and everything below it.
 * @returns the pattern, or its first problem; never throws, and takes time linear in the text
 */
export function parsePathPattern(text: string): Parsed {
  const known = remembered.get(text);
  if (known !== undefined) return known;
  const found = readPattern(text);
  if (remembered.size >= MAX_REMEMBERED) remembered.clear();
  remembered.set(text, found);
  return found;
}

/** Returns where a text has a component that no path has, so that it matches none; -1: nowhere. */
export function uncleanAt(text: string): number {
  return text.search(/\/\/|\/\.\.?(?=\/|$)/);
}

interface Group {
  readonly at: number;
  readonly done: PatternSequence[];
  current: PatternNode[];
}

function readPattern(text: string): Parsed {
  const problem = (at: number, message: string, fix: string): Parsed => ({ problem: { at, message, fix } });
  if (!text.startsWith('/'))
    return problem(0, 'a path pattern begins with /', 'write the path from the root of the container');
  if (text.length > MAX_LENGTH)
    return problem(MAX_LENGTH, `it is longer than ${MAX_LENGTH} characters`, 'write several patterns');
  const unclean = uncleanAt(text);
  if (unclean >= 0)
    return problem(
      unclean,
      'no path has an empty component, `.` or `..`',
      'write the path as the kernel resolves it',
    );
  const groups: Group[] = [{ at: 0, done: [], current: [] }];
  let at = 0;
  while (at < text.length) {
    const group = groups.at(-1);
    if (group === undefined) return problem(at, '`}` without a `{`', 'write \\} for the character itself');
    const letter = text.charAt(at);
    const inside = groups.length > 1;
    switch (letter) {
      case '*': {
        let end = at;
        while (text[end] === '*') end += 1;
        group.current.push({ kind: 'any', of: end - at > 1 ? ANY_BYTE : NAME_BYTE });
        at = end;
        break;
      }
      case '?':
        group.current.push({ kind: 'byte', of: NAME_BYTE });
        at += 1;
        break;
      case '[': {
        const found = readClass(text, at);
        if ('problem' in found) return found;
        group.current.push({ kind: 'byte', of: found.set });
        at = found.end;
        break;
      }
      case '{':
        if (groups.length > MAX_DEPTH)
          return problem(at, `braces are more than ${MAX_DEPTH} deep`, 'write several patterns');
        groups.push({ at, done: [], current: [] });
        at += 1;
        break;
      case '}': {
        if (!inside) return problem(at, '`}` without a `{`', 'write \\} for the character itself');
        if (group.done.length === 0)
          return problem(
            group.at,
            'the braces contain only one alternative',
            'separate two or more by commas, or leave the braces out',
          );
        groups.pop();
        groups.at(-1)?.current.push({ kind: 'alternatives', of: [...group.done, group.current] });
        at += 1;
        break;
      }
      case ']':
        return problem(at, '`]` without a `[`', 'write \\] for the character itself');
      default: {
        if (letter === ',' && inside) {
          group.done.push(group.current);
          group.current = [];
          at += 1;
          break;
        }
        const escaped = letter === '\\';
        const character = characterAt(text, escaped ? at + 1 : at);
        if (character === undefined) {
          return escaped
            ? problem(at, 'nothing follows the backslash', 'write \\\\ for the character itself')
            : problem(
                at,
                'a pattern cannot contain control characters and broken surrogates',
                'leave it out',
              );
        }
        for (const byte of encoder.encode(character))
          group.current.push({ kind: 'byte', of: singleByte(byte) });
        at += character.length + (escaped ? 1 : 0);
      }
    }
  }
  const last = groups.at(-1);
  if (last === undefined || groups.length > 1)
    return problem(last?.at ?? 0, '`{` without a `}`', 'close it, or write \\{ for the character itself');
  return { pattern: last.current };
}

const encoder = new TextEncoder();

/**
 * Returns the whole character at the position; undefined for none, a control character or half a surrogate
 * pair.
 */
function characterAt(text: string, at: number): string | undefined {
  const point = text.codePointAt(at);
  if (point === undefined || point < 0x20 || point === 0x7f || (point >= 0xd800 && point <= 0xdfff))
    return undefined;
  return String.fromCodePoint(point);
}

function readClass(
  text: string,
  from: number,
): { readonly set: ByteSet; readonly end: number } | { readonly problem: PatternProblem } {
  const problem = (at: number, message: string, fix: string) => ({ problem: { at, message, fix } });
  let at = from + 1;
  const negated = text[at] === '^';
  if (negated) at += 1;
  let set: ByteSet = 0n;
  while (text[at] !== ']') {
    const low = classByte(text, at);
    if (low === undefined)
      return problem(
        Math.min(at, text.length - 1),
        at >= text.length ? '`[` without a `]`' : 'a class may contain only ASCII characters',
        'close it, and write other characters as alternatives: {ä,ö}',
      );
    at = low.end;
    let high = low.byte;
    if (text[at] === '-' && text[at + 1] !== ']') {
      const upper = classByte(text, at + 1);
      if (upper === undefined) return problem(at, 'the range has no end', 'write it as a-z');
      if (upper.byte < low.byte)
        return problem(at, 'the range ends before it begins', 'write the lower character first');
      high = upper.byte;
      at = upper.end;
    }
    set |= byteRange(low.byte, high);
  }
  const chosen = negated ? NAME_BYTE & ~set : set;
  if ((chosen & singleByte(SLASH)) !== 0n)
    return problem(from, 'a class cannot contain `/`', 'write / outside of it');
  if (chosen === 0n || set === 0n) return problem(from, 'the class contains no character', 'leave it out');
  return { set: chosen, end: at + 1 };
}

function classByte(text: string, at: number): { readonly byte: number; readonly end: number } | undefined {
  const start = text[at] === '\\' ? at + 1 : at;
  const code = text.charCodeAt(start);
  return code >= 0x20 && code < 0x7f ? { byte: code, end: start + 1 } : undefined;
}

/** Returns every set of bytes that the pattern distinguishes. */
export function setsOf(pattern: PatternSequence): ByteSet[] {
  return pattern.flatMap((node) => (node.kind === 'alternatives' ? node.of.flatMap(setsOf) : [node.of]));
}

import { globMatches } from './image-pattern.ts';

/** Characters that a text in a policy may contain. Control characters would hide what is compared. */
const printable = /^[^\p{Cc}\p{Zl}\p{Zp}]*$/u;

/**
 * Whether the whole `text` matches a policy's pattern of literal characters and `*` (zero or more of any
 * character, also slashes). A pattern without `*` is an exact text. A text with control characters matches no
 * pattern that has a `*`.
 */
export function textMatches(pattern: string, text: string): boolean {
  if (!pattern.includes('*')) return pattern === text;
  return printable.test(text) && globMatches(pattern, text);
}

/** Describes a pattern for use in a sentence: `"a*"` → `like a*`, `"a"` → `a`. */
export function describePattern(pattern: string): string {
  return pattern.includes('*') ? `like ${pattern}` : pattern;
}

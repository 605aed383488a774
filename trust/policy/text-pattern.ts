import { globMatches } from './image-pattern.ts';

/** Characters that a text in a policy may hold; control characters would hide what is compared. */
const printable = /^[^\p{Cc}\p{Zl}\p{Zp}]*$/u;

/**
 * Whether `text` is what a policy's pattern says, as a whole: literal characters, and `*` for any characters (also none), slashes
 * included. A pattern without `*` is an exact text. A text with control characters fits no pattern that has a `*`.
 */
export function textMatches(pattern: string, text: string): boolean {
  if (!pattern.includes('*')) return pattern === text;
  return printable.test(text) && globMatches(pattern, text);
}

/** `"a*"` → `like a*`, `"a"` → `a`: to stand in a sentence. */
export function describePattern(pattern: string): string {
  return pattern.includes('*') ? `like ${pattern}` : pattern;
}

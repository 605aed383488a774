/** A pattern of `sigstore.subject`: `**` matches any characters, all other characters are literal. */
export type ExpressionPattern = { readonly pattern: string } | { readonly problem: string };

/**
 * Converts a regular expression (RE2, searched anywhere in the text like Go's `MatchString`) to a pattern
 * that matches the same texts: literal characters and `.*`. Any other expression has no pattern; it is never
 * replaced by a pattern that matches more.
 */
export function patternOfExpression(expression: string): ExpressionPattern {
  const anchoredStart = expression.startsWith('^');
  const anchoredEnd = expression.endsWith('$') && !expression.endsWith('\\$');
  const body = expression.slice(anchoredStart ? 1 : 0, anchoredEnd ? -1 : undefined);
  let pattern = anchoredStart ? '' : '**';
  for (let index = 0; index < body.length; index += 1) {
    const character = body[index] as string;
    if (character === '.' && body[index + 1] === '*') {
      if (body[index + 2] === '?' || body[index + 2] === '+')
        return { problem: `"${character}*${body[index + 2] ?? ''}" has no pattern` };
      pattern = pattern.endsWith('**') ? pattern : `${pattern}**`;
      index += 1;
      continue;
    }
    if (character === '.' && !/[+?{]/.test(body[index + 1] ?? ''))
      return { problem: String.raw`"." stands for any character, and has no pattern: write "\." for a dot` };
    const escaped = character === '\\';
    const literal = escaped ? (body[(index += 1)] ?? '') : character;
    if (
      literal === '' ||
      literal === '*' ||
      (escaped ? /[A-Za-z0-9]/.test(literal) : /[.+*?()|[\]{}^$\\]/.test(literal))
    )
      return {
        problem: `"${escaped ? '\\' : ''}${literal}" has no pattern: only literal characters and ".*" have`,
      };
    if (/[*+?{]/.test(body[index + 1] ?? ''))
      return { problem: `"${literal}${body[index + 1] ?? ''}" has no pattern: only ".*" has` };
    pattern += literal;
  }
  if (!anchoredEnd && !pattern.endsWith('**')) pattern += '**';
  return { pattern };
}

/** Returns the only text that an expression matches, or undefined when it matches more. */
export function literalOfExpression(expression: string): string | undefined {
  const result = patternOfExpression(expression);
  return 'pattern' in result && !result.pattern.includes('*') ? result.pattern : undefined;
}

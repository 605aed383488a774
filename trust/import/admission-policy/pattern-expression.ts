import { parseImagePattern } from '../../requirements/image-pattern.ts';

/** Writes a text as a literal of CEL. */
export function celText(text: string): string {
  return `'${text.replace(/[\\']/gu, (sign) => `\\${sign}`).replace(/[\p{Cc}\u2028\u2029]/gu, ' ')}'`;
}

/** Patterns hold no other sign that an expression would read. A closing bracket alone is literal in RE2. */
const literal = (text: string): string => text.replace(/[.[]/gu, (sign) => `[${sign}]`);
const globOf = (pattern: string, any: string): string => pattern.split('*').map(literal).join(any);

/** Writes a pattern with `*` for any characters as a regular expression of RE2 for the whole text. */
export const globExpression = (pattern: string): string => `^${globOf(pattern, '.*')}$`;

function segmentsOf(path: readonly string[]): string {
  return path
    .map((part, index) => {
      const last = index === path.length - 1;
      if (part === '**') return last ? '(?:[^/]+/)*[^/]+' : '(?:[^/]+/)*';
      return `${globOf(part, '[^/]*')}${last ? '' : '/'}`;
    })
    .join('');
}

function hostOf(host: string): string {
  if (host === '*') return '[^/]+';
  const [, name = host, port] = /^(.*):([0-9]+|\*)$/u.exec(host) ?? [];
  const end = port === undefined ? '' : port === '*' ? ':[0-9]+' : `:${port}`;
  return `${globOf(name, '[^/]*')}${end}`;
}

/**
 * Returns a condition in CEL that an image matches a pattern. The image is the variable `i`, with
 * `repository` (normalised, with its registry), `tag` and `digest`, the last two as `patternMatches` sees
 * them.
 */
export function patternExpression(text: string): string {
  const { host, path, tag, digest } = parseImagePattern(text);
  const name = host === '' ? segmentsOf(path) : `${hostOf(host)}/${segmentsOf(path)}`;
  const parts = [
    `i.repository.matches(${celText(`^${name}$`)})`,
    ...(digest === undefined ? [] : [`i.digest == ${celText(digest)}`]),
    ...(tag === undefined ? [] : [`i.digest == '' && i.tag.matches(${celText(globExpression(tag))})`]),
  ];
  return parts.length === 1 ? String(parts[0]) : `(${parts.join(' && ')})`;
}

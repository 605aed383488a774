import { hubHosts } from '../../../base/distribution/index.ts';
import { globMatches, parseImagePattern } from '../../requirements/image-pattern.ts';

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

/** Returns the expression of a host without its port. A part of a name with `*` has no colon. */
const hostNameOf = (name: string): string => (name === '*' ? '(?:[[][^/]*]|[^/:]*)' : globOf(name, '[^/:]*'));

function hostOf(host: string): string {
  if (host === '*') return '[^/]+';
  const [, name = host, port] = /^(.*):([0-9]+|\*)$/u.exec(host) ?? [];
  const end = port === undefined ? '' : port === '*' ? ':[0-9]+' : `:${port}`;
  return `${hostNameOf(name)}${end}`;
}

/** Returns a host with the other names of its registry, as `otherNames` has them. */
function hostsOf(host: string): string {
  const [, name = host, port] = /^(.*):([0-9]+|\*)$/u.exec(host) ?? [];
  if (host === '*' || (port !== undefined && !['443', '80', '*'].includes(port))) return hostOf(host);
  const own = `${hostNameOf(name)}${port === '*' ? '(?::[0-9]+)?' : '(?::443|:80)?'}`;
  if (!hubHosts.some((hub) => globMatches(name, hub))) return own;
  return `(?:${own}|(?:${hubHosts.map(literal).join('|')})(?::443|:80)?)`;
}

/**
 * Returns a condition in CEL that an image matches a pattern. The image is the variable `i`, with
 * `repository` (normalised, with its registry), `tag` and `digest`, the last two as `patternMatches` sees
 * them.
 * @param names `others`: it also matches the other names of the image's registry
 */
export function patternExpression(text: string, names: 'as written' | 'others' = 'as written'): string {
  const { host, path, tag, digest } = parseImagePattern(text);
  const registry = names === 'others' ? hostsOf(host) : hostOf(host);
  const name = host === '' ? segmentsOf(path) : `${registry}/${segmentsOf(path)}`;
  const parts = [
    `i.repository.matches(${celText(`^${name}$`)})`,
    ...(digest === undefined ? [] : [`i.digest == ${celText(digest)}`]),
    ...(tag === undefined ? [] : [`i.digest == '' && i.tag.matches(${celText(globExpression(tag))})`]),
  ];
  return parts.length === 1 ? String(parts[0]) : `(${parts.join(' && ')})`;
}

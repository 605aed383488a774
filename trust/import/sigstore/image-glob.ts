import { globMatches, hasUsualHost, parseImagePattern } from '../../requirements/image-pattern.ts';

/** Patterns that match every reference that a glob matches. */
export interface GlobPatterns {
  readonly patterns: readonly string[];
  /** Whether they match no other reference. */
  readonly exact: boolean;
}

/** The name of Docker Hub in references that globs are matched against. */
const hub = 'index.docker.io';

/**
 * Converts a glob of ClusterImagePolicy to image patterns, or says why there are none. A glob is matched
 * against the whole name with its registry, and with a tag or a digest: `*` matches any characters except
 * "/", `**` matches any characters, and a name without a tag has the tag `latest` (policy-controller,
 * pkg/apis/glob).
 */
export function patternsOfGlob(glob: string): GlobPatterns | { readonly problem: string } {
  if (!/^[a-zA-Z0-9_:/*.-]+$/.test(glob)) return { problem: 'it is not a glob' };
  const whole = glob === '*' ? `${hub}/library/*` : glob === '*/*' ? `${hub}/*/*` : glob;
  const segments = whole.split('/');
  if (segments.some((segment) => segment !== '**' && segment.replace(/:\*\*$/, ':*').includes('**')))
    return { problem: '"**" is combined with other characters in a path segment' };
  if (whole === '**') return { patterns: ['**'], exact: true };
  const [host = '', ...path] = segments;
  const last = path.at(-1);
  if (last === undefined) return { problem: 'it names no registry' };
  const hosts = hostsOf(host);
  if ('problem' in hosts) return hosts;
  const end = endOf(last);
  // `a/**/b` needs at least one segment between the two; here ** may be empty.
  const inner = path.slice(0, -1).flatMap((segment) => (segment === '**' ? ['*', '**'] : [segment]));
  const patterns = hosts.patterns.map((one) => [one, ...inner, end.pattern].join('/'));
  // Here, a name of one segment is one of library/.
  const isShort = path.length === 1 && last !== '**' && hosts.patterns.includes(hub);
  try {
    for (const pattern of patterns) parseImagePattern(pattern);
    const isUsual = patterns.filter((one) => !one.startsWith(`${hub}/`)).map(hasUsualHost);
    return { patterns, exact: hosts.exact && end.exact && !isShort && isUsual.every((one) => one) };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

/** Converts the registry of a glob: there, a name has its registry, and that of Docker Hub is {@link hub}. */
function hostsOf(host: string): GlobPatterns | { readonly problem: string } {
  if (host === '*') return { patterns: ['*'], exact: true };
  // A path segment, or none, may follow the registry.
  if (host === '**') return { patterns: ['*/**'], exact: true };
  const isRegistry = /[.:]/.test(host) || host === 'localhost';
  const star = host.lastIndexOf('*');
  if (star < 0) return { patterns: [host], exact: isRegistry && host !== 'docker.io' };
  const tail = host.slice(star + 1);
  if (!isRegistry || /^\d+$/.test(tail)) return { problem: 'its "*" can match any part of a registry' };
  return {
    patterns: [
      host,
      // The `*` also matches a port.
      ...(tail === '' && !host.includes(':') ? [`${host}:*`] : []),
      ...(globMatches(host, hub) && !globMatches(host, 'docker.io') ? [hub] : []),
    ],
    exact: globMatches(host, hub) || !globMatches(host, 'docker.io'),
  };
}

/** Converts the last segment of a glob, whose `*` also matches characters of a tag or a digest. */
function endOf(segment: string): { readonly pattern: string; readonly exact: boolean } {
  if (segment === '**') return { pattern: segment, exact: true };
  const [name = '', tag, ...more] = segment.split(':');
  const star = name.lastIndexOf('*');
  const tail = name.slice(star + 1);
  const upToStar = star < 0 ? name : `${name.slice(0, name.indexOf('*'))}*`;
  if (tag === undefined) {
    // The name of each image ends with a tag or a digest, which such a glob cannot match.
    if (star < 0) return { pattern: `${name}:latest`, exact: false };
    // `*app*` also matches `web:app`.
    return { pattern: upToStar, exact: upToStar === name };
  }
  // No name has two tags.
  if (more.length > 0) return { pattern: upToStar, exact: false };
  const anyTag = /^\*+$/.test(tag);
  // `a*:1` also matches `app@sha256:1…`, if the digest has these digits.
  const matchesDigest = star >= 0 && '@sha256'.endsWith(tail) && /^[0-9a-f*]+$/.test(tag);
  if (!matchesDigest) return { pattern: `${name}:${anyTag ? '*' : tag}`, exact: true };
  return { pattern: upToStar, exact: anyTag && tail === '' && upToStar === name };
}

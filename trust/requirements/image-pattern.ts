import { parseReference } from '../../base/distribution/index.ts';
import { attempt } from '../../base/errors/index.ts';

/**
 * A pattern over references: `registry/repository`, split at its slashes, and a tag or digest when the
 * pattern has one.
 */
export interface ImagePattern {
  /** Empty for a pattern that begins with `**`: any registry. */
  readonly host: string;
  readonly path: readonly string[];
  /** Matches only references by tag whose tag fits; `*` matches any characters. */
  readonly tag?: string;
  /** Matches only references by this digest. */
  readonly digest?: string;
}

/** A normalised reference that patterns are matched against. */
export interface NamedImage {
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

/**
 * Parses an image pattern such as `registry.example.com/pay/**`. `*` matches any characters within one path
 * segment. `**` matches one or more whole segments at the end, and none or more elsewhere. `HOST:*` matches
 * any port. Docker's short names are completed: `busybox` is `docker.io/library/busybox`. `REPOSITORY:TAG`
 * (with `*` for any characters) and `REPOSITORY@sha256:…` match only references by such a tag, or by that
 * digest.
 * @throws Error with a sentence that names the mistake and a valid form
 */
export function parseImagePattern(text: string): ImagePattern {
  if (text === '' || text.length > 512) throw new Error('an image pattern has 1 to 512 characters');
  const at = text.indexOf('@');
  if (at >= 0) {
    const digest = text.slice(at + 1);
    if (!/^sha256:[0-9a-f]{64}$/.test(digest))
      throw new Error('a digest is written "@sha256:" and 64 hexadecimal digits');
    const pattern = parseImagePattern(text.slice(0, at));
    if (pattern.tag !== undefined) throw new Error('an image pattern names a tag or a digest, not both');
    return { ...pattern, digest };
  }
  const { name, tag } = splitTag(text);
  if (tag !== undefined) {
    if (!/^[A-Za-z0-9_.*-]{1,128}$/.test(tag)) throw new Error(`":${tag}" is not a tag`);
    return { ...parseImagePattern(name), tag };
  }
  if (/^[a-z0-9+.-]+:\/\//i.test(text))
    throw new Error('an image pattern has no scheme: remove it with "://"');
  if (/[^A-Za-z0-9._:/*[\]-]/.test(text))
    throw new Error('an image pattern contains only letters, digits, ".", "_", "-", ":", "/" and "*"');
  const segments = text.split('/');
  if (segments.some((segment) => segment === ''))
    throw new Error('an image pattern has no empty path segment: remove the extra "/"');
  const misplaced = segments.find((segment) => segment.includes('**') && segment !== '**');
  if (misplaced !== undefined)
    throw new Error(`"**" stands for whole path segments: write "*" in "${misplaced}", or "**" alone`);
  const { host, path } = splitHost(segments);
  if (path.some((segment) => segment.includes(':'))) throw new Error('a tag must be at the end');
  if (path.some((segment) => /[A-Z[\]]/.test(segment)))
    throw new Error('a repository is written in lower case');
  const canonical = /^(\[[0-9a-f:]+\]|[a-z0-9.*-]+)?(:(\d+|\*))?$/.test(host)
    ? canonicalHost(host)
    : undefined;
  if (canonical === undefined)
    throw new Error(`"${host}" is not a registry: write HOST, HOST:PORT or HOST:*`);
  return { host: canonical, path };
}

/**
 * Returns the form that the host has in references: a rule for `[2001:db8:0:0::1]`, or for the port 0443 of
 * any host, would never match otherwise. Returns undefined for a host that no reference can have.
 */
function canonicalHost(host: string): string | undefined {
  if (host === '') return host;
  const [name, port] = splitPort(host);
  const isWildcard = name.includes('*');
  if (isWildcard && /^\.|\.\.|\.$/.test(name)) return undefined;
  // A name without a dot is a registry only with a port.
  const asked = port === '*' ? '1' : port;
  const text = `${isWildcard ? 'any.host' : name}${asked === undefined ? '' : `:${asked}`}/name`;
  const parsed = attempt(() => parseReference(text));
  if (parsed === undefined) return undefined;
  const [usualName, usualPort] = splitPort(parsed.registry);
  const end = port === '*' ? port : usualPort;
  return `${isWildcard ? name : usualName}${end === undefined ? '' : `:${end}`}`;
}

/**
 * Returns whether the host of a valid pattern has the form that it has in references. Tools that compare
 * names as they are written take `Registry.example.com` for another registry than `registry.example.com`.
 */
export function hasUsualHost(pattern: string): boolean {
  const { host } = parseImagePattern(pattern);
  return host === '' || host === pattern.split('/')[0];
}

/**
 * Splits off the tag after the last colon, unless that colon precedes a port: a single segment that
 * looks like a registry has no tag.
 */
function splitTag(text: string): { readonly name: string; readonly tag?: string } {
  const colon = text.lastIndexOf(':');
  if (colon < 0 || colon < text.lastIndexOf('/')) return { name: text };
  const name = text.slice(0, colon);
  if (!name.includes('/') && (name === 'localhost' || /[.*[\]]/.test(name)))
    throw new Error(`"${text}" is a registry without a repository: write ${text}/**`);
  return { name, tag: text.slice(colon + 1) };
}

function splitHost(segments: readonly string[]): ImagePattern {
  const first = (segments[0] as string).toLowerCase();
  if (first === '**') return { host: '', path: segments };
  const alone = segments.length === 1;
  // Docker's rule: the first segment is a registry when it looks like one. A wildcard that can match a
  // registry counts as one.
  const isHost = !alone && (/[.:]/.test(first) || first === 'localhost' || first === '*');
  if (!isHost) return { host: 'docker.io', path: alone ? ['library', ...segments] : segments };
  const host = first === 'index.docker.io' ? 'docker.io' : first;
  const path = segments.slice(1);
  return {
    host,
    path: host === 'docker.io' && path.length === 1 && path[0] !== '**' ? ['library', ...path] : path,
  };
}

/** Whether the pattern matches the reference. Linear in both lengths for each `**`. */
export function patternMatches(pattern: ImagePattern, image: NamedImage): boolean {
  const { registry, repository } = image;
  if (pattern.digest !== undefined && pattern.digest !== image.digest) return false;
  // A reference by digest has no resolved tag. Only the author of the reference would vouch for a tag written
  // beside the digest.
  if (
    pattern.tag !== undefined &&
    (image.digest !== undefined || image.tag === undefined || !globMatches(pattern.tag, image.tag))
  )
    return false;
  // Most patterns of a policy differ in their host, so it is compared first.
  if (pattern.host !== '' && !hostMatches(pattern.host, registry)) return false;
  const segments = repository.split('/');
  return segmentsMatch(pattern.path, pattern.host === '' ? [registry, ...segments] : segments);
}

function hostMatches(pattern: string, host: string): boolean {
  if (pattern === '*' || pattern === host) return true;
  if (!pattern.includes('*')) return false;
  const [patternName, patternPort] = splitPort(pattern);
  const [name, port] = splitPort(host);
  if ((patternPort === undefined) !== (port === undefined)) return false;
  return (
    globMatches(patternName, name) &&
    (patternPort === undefined || patternPort === '*' || patternPort === port)
  );
}

function splitPort(host: string): [string, string | undefined] {
  const match = /^(.*):([0-9]+|\*)$/.exec(host);
  return match === null ? [host, undefined] : [match[1] as string, match[2]];
}

function segmentsMatch(pattern: readonly string[], segments: readonly string[]): boolean {
  // reachable[i]: the part of the pattern read so far can match exactly the first i segments.
  let reachable = segments.map(() => false).concat(false);
  reachable[0] = true;
  pattern.forEach((part, position) => {
    const next = reachable.map(() => false);
    if (part === '**') {
      const least = position === pattern.length - 1 ? 1 : 0;
      const first = reachable.indexOf(true);
      if (first >= 0) next.fill(true, first + least);
    } else {
      segments.forEach((segment, index) => {
        if (reachable[index] && globMatches(part, segment)) next[index + 1] = true;
      });
    }
    reachable = next;
  });
  return reachable[segments.length] === true;
}

/**
 * Whether a pattern of literal characters and `*` (zero or more of any character) matches the whole text.
 * Never backtracks beyond the last `*`.
 */
export function globMatches(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p;
      p += 1;
      resume = t;
    } else if (p < pattern.length && pattern[p] === text[t]) {
      p += 1;
      t += 1;
    } else if (star >= 0) {
      p = star + 1;
      resume += 1;
      t = resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p += 1;
  return p === pattern.length;
}

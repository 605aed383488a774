/** A pattern over `registry/repository`, split at its slashes. Tags and digests are no part of it. */
export interface ImagePattern {
  /** Empty for the pattern that begins with `**`: any registry. */
  readonly host: string;
  readonly path: readonly string[];
}

/**
 * Reads an image pattern: `registry.example.com/pay/**`. `*` stands for any characters within one path segment, `**` for one or
 * more whole segments at the end and none or more elsewhere, `HOST:*` for any port. Docker's short names are completed:
 * `busybox` is `docker.io/library/busybox`.
 * @throws Error with a sentence that says what is wrong and another way to write it
 */
export function parseImagePattern(text: string): ImagePattern {
  if (text === '' || text.length > 512) throw new Error('an image pattern has 1 to 512 characters');
  if (text.includes('@')) throw new Error('an image pattern names repositories, not digests: leave out "@…"');
  if (/[^A-Za-z0-9._:/*[\]-]/.test(text)) throw new Error('an image pattern holds letters, digits, ".", "_", "-", ":", "/" and "*" only');
  const segments = text.split('/');
  if (segments.some((segment) => segment === '')) throw new Error('an image pattern has no empty path segment: remove the extra "/"');
  const misplaced = segments.find((segment) => segment.includes('**') && segment !== '**');
  if (misplaced !== undefined) throw new Error(`"**" stands for whole path segments: write "*" in "${misplaced}", or "**" alone`);
  const { host, path } = splitHost(segments);
  if (path.some((segment) => segment.includes(':'))) throw new Error('an image pattern names repositories, not tags: leave out ":…"');
  if (path.some((segment) => /[A-Z[\]]/.test(segment))) throw new Error('a repository is written in lower case');
  if (!/^(\[[0-9a-f:]+\]|[a-z0-9.*-]+)?(:(\d+|\*))?$/.test(host))
    throw new Error(`"${host}" is not a registry: write HOST, HOST:PORT or HOST:*`);
  return { host, path };
}

function splitHost(segments: readonly string[]): ImagePattern {
  const first = (segments[0] as string).toLowerCase();
  if (first === '**') return { host: '', path: segments };
  const alone = segments.length === 1;
  // Docker's rule: the first part is a registry when it looks like one; a wildcard that may be one is taken for one.
  const isHost = !alone && (/[.:]/.test(first) || first === 'localhost' || first === '*');
  if (!isHost) return { host: 'docker.io', path: alone ? ['library', ...segments] : segments };
  const host = first === 'index.docker.io' ? 'docker.io' : first;
  const path = segments.slice(1);
  return { host, path: host === 'docker.io' && path.length === 1 && path[0] !== '**' ? ['library', ...path] : path };
}

/** Whether the pattern holds `registry/repository`, both normalised. Linear in both lengths for each `**`. */
export function patternMatches(pattern: ImagePattern, registry: string, repository: string): boolean {
  const segments = repository.split('/');
  if (pattern.host === '') return segmentsMatch(pattern.path, [registry, ...segments]);
  return hostMatches(pattern.host, registry) && segmentsMatch(pattern.path, segments);
}

function hostMatches(pattern: string, host: string): boolean {
  if (pattern === '*') return true;
  const [patternName, patternPort] = splitPort(pattern);
  const [name, port] = splitPort(host);
  if ((patternPort === undefined) !== (port === undefined)) return false;
  return globMatches(patternName, name) && (patternPort === undefined || patternPort === '*' || patternPort === port);
}

function splitPort(host: string): [string, string | undefined] {
  const match = /^(.*):([0-9]+|\*)$/.exec(host);
  return match === null ? [host, undefined] : [match[1] as string, match[2]];
}

function segmentsMatch(pattern: readonly string[], segments: readonly string[]): boolean {
  // reachable[i]: the pattern read so far can have used up the first i segments.
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

/** Whether a pattern of literal characters and `*` (any characters, also none) holds the whole text. Never backtracks beyond the last `*`. */
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

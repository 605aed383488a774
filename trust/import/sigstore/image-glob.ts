import { parseImagePattern } from '../../requirements/image-pattern.ts';

/**
 * Converts a glob of ClusterImagePolicy to image patterns that match the same references, or says why there
 * are none. A glob is matched against the whole name with tag or digest: `*` matches any characters except
 * "/", `**` matches any characters, and a name without a tag has the tag `latest` (policy-controller,
 * pkg/apis/glob).
 */
export function patternsOfGlob(
  glob: string,
): { readonly patterns: readonly string[] } | { readonly problem: string } {
  if (!/^[a-zA-Z0-9_:/*.-]+$/.test(glob)) return { problem: 'it is not a glob' };
  const whole = glob === '*' ? 'index.docker.io/library/*' : glob === '*/*' ? 'index.docker.io/*/*' : glob;
  const segments = whole.split('/');
  if (
    segments.some(
      (segment) => segment.includes('**') && segment !== '**' && !/^[^*]*(\*?[^*]*)*:\*\*$/.test(segment),
    )
  )
    return { problem: '"**" is combined with other characters in a path segment' };
  if (segments.length === 1 && whole !== '**') return { problem: 'it names no registry' };
  const last = segments.at(-1) as string;
  // `a/**/b` needs at least one segment between the two; here ** may be empty.
  const inner = segments
    .slice(0, -1)
    .flatMap((segment, index) => (segment === '**' && index > 0 ? ['*', '**'] : [segment]));
  const text = [...inner, tagged(last)].join('/');
  try {
    parseImagePattern(text);
    return { patterns: [text] };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

function tagged(segment: string): string {
  if (segment === '**') return segment;
  const [name = '', tag] = segment.split(':');
  if (tag !== undefined) return `${name}:${tag === '**' ? '*' : tag}`;
  // A star at the end also matches tag and digest.
  return name.endsWith('*') ? name : `${name}:latest`;
}

import type { PathSegment } from './types.ts';

/**
 * Formats a path: `['rules', 0, 'images']` → `rules[0].images`. Names that are not plain words are put in
 * brackets.
 */
export function formatPath(path: readonly PathSegment[]): string {
  let text = '';
  for (const segment of path) {
    if (typeof segment === 'number') text += `[${segment}]`;
    else if (/^[A-Za-z_$][\w$-]*$/.test(segment)) text += text === '' ? segment : `.${segment}`;
    else text += `[${JSON.stringify(segment)}]`;
  }
  return text;
}

/**
 * Returns a JSON pointer (RFC 6901) as segments, resolved against `value` so that indices of lists become
 * numbers.
 */
export function pointerSegments(pointer: string, value: unknown): PathSegment[] {
  const segments: PathSegment[] = [];
  let node = value;
  for (const raw of pointer.split('/').slice(1)) {
    const name = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    segments.push(Array.isArray(node) ? Number(name) : name);
    node = typeof node === 'object' && node !== null ? (node as Record<string, unknown>)[name] : undefined;
  }
  return segments;
}

import { parseImagePattern } from '../../requirements/image-pattern.ts';

/**
 * Converts an image reference pattern of Kyverno to ours. There, `*` matches any characters including
 * slashes, `?` matches one character, and the pattern is matched against `registry/path:tag`. `exact` says
 * whether our pattern matches the same references; otherwise it matches more.
 */
export function patternOfReference(text: string): { readonly pattern: string; readonly exact: boolean } {
  const { name, suffix } = splitSuffix(text);
  const segments = name.split('/');
  const widened: string[] = [];
  let exact = !text.includes('?') && namesAsWritten(segments);
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment === '*') {
      // Between two other segments it matches one or more segments, never none.
      if (last || index === 0) widened.push('**');
      else {
        widened.push('**');
        exact = false;
      }
      if (last && suffix !== '') exact = false;
      continue;
    }
    if (/[*?]/.test(segment)) {
      // It crosses slashes: anything may follow from here on.
      widened.push('**');
      return usable(widened.join('/'), '', false);
    }
    widened.push(segment);
  }
  // Kyverno's names end with a tag or a digest: without one, a pattern matches no name.
  return usable(widened.join('/'), suffix, exact && (suffix !== '' || segments.at(-1) === '*'));
}

/**
 * Whether Kyverno's names and ours agree for a pattern. For Kyverno, `docker.io/nginx` and
 * `docker.io/library/nginx` are two names, and the registry of a short name depends on its settings.
 */
function namesAsWritten([host = '', ...path]: readonly string[]): boolean {
  if (host === '*') return !path.includes('library');
  return (/[.:]/.test(host) || host === 'localhost') && !/^(?:.*\.)?docker\.io(?::|$)/.test(host);
}

function splitSuffix(text: string): { readonly name: string; readonly suffix: string } {
  const at = text.indexOf('@');
  const colon = text.lastIndexOf(':');
  const cut = at >= 0 ? at : colon > text.lastIndexOf('/') ? colon : text.length;
  return { name: text.slice(0, cut), suffix: text.slice(cut).replaceAll('?', '*') };
}

function usable(
  name: string,
  suffix: string,
  exact: boolean,
): { readonly pattern: string; readonly exact: boolean } {
  // With `*` in its digest, or without a suffix, the pattern matches any reference with that name.
  const whole = suffix.startsWith('@') && suffix.includes('*') ? name : `${name}${suffix}`;
  try {
    parseImagePattern(whole);
    return { pattern: whole, exact: exact && whole === `${name}${suffix}` };
  } catch {
    return { pattern: '**', exact: false };
  }
}

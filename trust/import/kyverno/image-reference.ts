import { append } from '../../../base/lists/index.ts';
import type { PathSegment } from '../../../base/schema/index.ts';
import { globMatches, hasUsualHost } from '../../requirements/image-pattern.ts';
import { reportUnmapped } from '../mapping/source-documents.ts';
import type { Importing } from '../mapping/source-documents.ts';

/** Our patterns for one of Kyverno. */
interface ConvertedReference {
  readonly patterns: readonly string[];
  /** Whether our patterns match the same references; otherwise they match more. */
  readonly exact: boolean;
  /** Whether our patterns match more because no pattern of ours says the same as a wildcard of Kyverno. */
  readonly wider: boolean;
}

/**
 * Returns our patterns for those of a rule, by their places: all images if it has none. Lists wider ones.
 * @param names which names the patterns are matched against
 */
export function importReferences(
  references: readonly (readonly [text: string, path: readonly PathSegment[]])[],
  importing: Importing,
  names: ComparedNames = 'complete',
): readonly string[] {
  if (references.length === 0) return ['**'];
  const images = references.flatMap(([text, path]) => {
    const { patterns, wider } = patternsOfReference(text, names);
    if (wider)
      reportUnmapped(
        importing,
        path,
        'no pattern matches exactly these images',
        `the rule also applies to the other images of ${patterns.join(' and ')}`,
      );
    return patterns;
  });
  return [...new Set(images)];
}

/**
 * The names that Kyverno compares with patterns: `complete` ones, which end with a tag or with a digest, or
 * names `as-written` in the pod, which may have both or none.
 */
type ComparedNames = 'complete' | 'as-written';

/**
 * Converts an image reference pattern of Kyverno to ours. There, `*` matches any characters including
 * slashes, `?` matches one character, and the pattern is matched against `registry/path:tag`.
 */
export function patternsOfReference(text: string, names: ComparedNames = 'complete'): ConvertedReference {
  const { name: whole, suffix: written } = splitSuffix(text);
  // `app:1@*` matches names with both a tag and a digest, which no pattern with a tag matches here.
  const name = names === 'as-written' && /^@.*\*/.test(written) ? whole.replace(/:[^/:]*$/, '') : whole;
  const segments = name.split('/');
  // `app:5*` also matches `app:5000/web`.
  if (segments.length === 1 && name !== '*' && written.includes('*')) return usable(['**'], '', false, true);
  const widened: string[] = [];
  // `*:a*` also matches `app@sha256:a…`: the `*` covers everything before the colon.
  const coversAll = segments.at(-1) === '*' && /^:[0-9a-f*]+$/.test(written);
  // `:1*` also matches the end of `app:1@sha256:…`.
  const coversBoth = names === 'as-written' && /^:.*\*/.test(written);
  const suffix = coversAll || coversBoth ? '' : written;
  let wider =
    text.includes('?') || name !== whole || (suffix !== written && !(coversAll && /^:\*+$/.test(written)));
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment === '*') {
      // At the start it matches a registry, and perhaps a part of the path: `**` alone may match neither.
      append(widened, index === 0 && !last ? ['*', '**'] : ['**']);
      // Between two other segments it matches one or more segments, never none.
      if ((!last && index > 0) || (last && suffix !== '')) wider = true;
      continue;
    }
    if (last && index > 0 && suffix === '' && /^[^*?]+\*$/.test(segment)) {
      // The end of a name, and anything below such names.
      const begin = [...widened, segment].join('/');
      return usable([begin, `${begin}/**`], '', namesAsWritten(segments), wider);
    }
    if (/[*?]/.test(segment)) {
      // It crosses slashes: anything may follow from here on.
      widened.push('**');
      return usable([widened.join('/')], '', false, true);
    }
    widened.push(segment);
  }
  // Kyverno's names end with a tag or a digest: without one, a pattern matches no name.
  const ends = suffix !== '' || segments.at(-1) === '*';
  return usable([widened.join('/')], suffix, ends && namesAsWritten(segments), wider);
}

/**
 * Whether Kyverno's names and ours agree for a pattern. For Kyverno, `docker.io/nginx` and
 * `docker.io/library/nginx` are two names, and the registry of a short name depends on its settings.
 */
function namesAsWritten([host = '', ...path]: readonly string[]): boolean {
  if (host === '*') return !path.some((part) => part !== '*' && globMatches(part, 'library'));
  return (/[.:]/.test(host) || host === 'localhost') && !/^(?:.*\.)?docker\.io(?::|$)/.test(host);
}

function splitSuffix(text: string): { readonly name: string; readonly suffix: string } {
  const at = text.indexOf('@');
  const colon = text.lastIndexOf(':');
  const cut = at >= 0 ? at : colon > text.lastIndexOf('/') ? colon : text.length;
  return { name: text.slice(0, cut), suffix: text.slice(cut).replaceAll('?', '*') };
}

function usable(
  names: readonly string[],
  suffix: string,
  exact: boolean,
  wider: boolean,
): ConvertedReference {
  // With `*` in its digest, or without a suffix, the pattern matches any reference with that name.
  const whole = suffix.startsWith('@') && suffix.includes('*');
  const patterns = names.map((name) => (whole ? name : `${name}${suffix}`));
  try {
    // Also for `exact`: parsing every pattern shows whether all are valid.
    const isUsual = patterns.map(hasUsualHost).every((one) => one);
    return { patterns, exact: exact && isUsual && !wider && !whole, wider };
  } catch {
    return { patterns: ['**'], exact: false, wider: true };
  }
}

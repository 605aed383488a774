import { formatReference, parseReference } from '../../base/distribution/index.ts';
import { parseImagePattern, patternMatches } from './image-pattern.ts';
import type { ImagePattern } from './image-pattern.ts';
import type { TrustRule } from './types.ts';

/** A parsed and normalised reference that rules are matched against. */
export interface NormalisedReference {
  readonly text: string;
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

/**
 * Parses and normalises a reference.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`
 */
export function normaliseReference(text: string): NormalisedReference {
  const { registry, repository, tag, digest } = parseReference(text);
  return {
    text: formatReference({
      registry,
      repository,
      ...(tag === undefined ? {} : { tag }),
      ...(digest === undefined ? {} : { digest }),
    }),
    registry,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Whether the rule's image patterns match the reference, whatever the namespace. */
export function ruleNamesImage(rule: TrustRule, reference: NormalisedReference): boolean {
  const holds = (pattern: string): boolean => patternMatches(compiled(pattern), reference);
  return rule.images.some(holds) && !(rule.except ?? []).some(holds);
}

const patterns = new Map<string, ImagePattern>();

/** Returns an image pattern of a loaded policy, parsed. Each is parsed once. */
export function compiled(text: string): ImagePattern {
  let pattern = patterns.get(text);
  if (pattern === undefined) {
    // The cache stays bounded: only patterns of loaded policies get here, and a long-lived daemon reloads few
    // of them.
    if (patterns.size > 10_000) patterns.clear();
    pattern = parseImagePattern(text);
    patterns.set(text, pattern);
  }
  return pattern;
}

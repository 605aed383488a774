import type { TrustPolicy, TrustRule } from '../types.ts';
import { globMatches, parseImagePattern, patternMatches } from './image-pattern.ts';
import type { ImagePattern, NamedImage } from './image-pattern.ts';
import { normaliseReference, ruleNamesImage } from './matching.ts';

/** Stands for one name that no policy spells out: only a wildcard matches it. */
const unspelt = 'x0q7-never-written';

/** Whether the patterns of the rule match the reference, whatever the namespace. A text that is no reference matches nothing. */
export function ruleMatchesReference(rule: TrustRule, reference: string): boolean {
  try {
    return ruleNamesImage(rule, normaliseReference(reference));
  } catch {
    return false;
  }
}

/** Whether the rule speaks in the namespace. A rule without namespaces speaks everywhere. */
export function ruleMatchesNamespace(rule: TrustRule, namespace: string): boolean {
  return [rule.narrows, rule.namespaces].every((patterns) => patterns?.some((pattern) => globMatches(pattern, namespace)) ?? true);
}

/** Whether an image pattern matches repositories of any registry that nobody spelt out: two wildcards, or a wildcard before the first slash. */
export function matchesAnyRegistry(pattern: string): boolean {
  return samples(parseImagePattern(pattern)).some(({ registry }) => registry.replace(/:.*$/, '') === unspelt);
}

/** Whether each image that `inner` matches is also matched by `outer`. Exact for patterns in which a wildcard is not part of a longer name. */
function patternCovers(outer: string, inner: string): boolean {
  const pattern = parseImagePattern(outer);
  return samples(parseImagePattern(inner)).every((image) => patternMatches(pattern, image));
}

/** Whether the rule excepts every image that it names: it matches nothing. */
export function exceptsItself({ images, except = [] }: TrustRule): boolean {
  return images.every((inner) => except.some((outer) => patternCovers(outer, inner)));
}

/**
 * The rule that leaves `rule` without any effect: one that demands proof covers a rule that allows unverified images (which counts only
 * where nothing else matches), or one that denies covers a rule that demands proof. Undefined: there is none.
 */
export function shadowOf(policy: TrustPolicy, rule: TrustRule): TrustRule | undefined {
  if (rule.deny !== undefined) return undefined;
  return policy.rules.find(
    (other) =>
      other !== rule &&
      !other.allowUnverified &&
      (rule.allowUnverified || other.deny !== undefined) &&
      other.mode !== 'report' &&
      other.breakGlass === undefined &&
      other.except === undefined &&
      other.namespaces === undefined &&
      other.narrows === undefined &&
      rule.images.every((inner) => other.images.some((outer) => patternCovers(outer, inner))),
  );
}

/** Images that the pattern matches, with {@link unspelt} in the place of wildcards: as short and as long as they get. */
function samples({ host, path, tag, digest }: ImagePattern): readonly NamedImage[] {
  const fill = (text: string): string => text.replaceAll('*', unspelt);
  const paths = path.reduce<readonly (readonly string[])[]>(
    (all, part, index) => {
      if (part !== '**') return all.map((before) => [...before, fill(part)]);
      const least = index === path.length - 1 ? 1 : 0;
      if (all.length >= 64) return all.map((before) => [...before, ...Array<string>(least).fill(unspelt)]);
      return [least, 3].flatMap((count) => all.map((before) => [...before, ...Array<string>(count).fill(unspelt)]));
    },
    [[]],
  );
  const tags: readonly Pick<NamedImage, 'tag' | 'digest'>[] =
    digest !== undefined
      ? [{ digest }]
      : tag !== undefined
        ? [{ tag: fill(tag) }]
        : [{ tag: unspelt }, { digest: `sha256:${'0'.repeat(64)}` }];
  const named =
    host === ''
      ? paths.map(([first = unspelt, ...rest]) => ({ registry: first, path: rest }))
      : paths.map((one) => ({ registry: hostOf(host), path: one }));
  return named.flatMap(({ registry, path: one }) => tags.map((each) => ({ registry, repository: one.join('/') || unspelt, ...each })));
}

/** A registry that the host's pattern matches. */
function hostOf(host: string): string {
  return host.replace(/:\*$/, ':49151').replaceAll('*', unspelt);
}

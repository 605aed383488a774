import { attempt } from '../../base/errors/index.ts';
import type { TrustPolicy, TrustRule } from '../requirements/types.ts';
import { globMatches, parseImagePattern, patternMatches } from '../requirements/image-pattern.ts';
import type { ImagePattern, NamedImage } from '../requirements/image-pattern.ts';
import { normaliseReference, ruleNamesImage } from '../requirements/named-images.ts';

/** A placeholder for a name that no policy spells out, so that only a wildcard matches it. */
const unspelt = 'x0q7-never-written';

/**
 * Whether the patterns of the rule match the reference, whatever the namespace. A text that is not a valid
 * reference matches nothing.
 */
export function ruleMatchesReference(rule: TrustRule, reference: string): boolean {
  return attempt(() => ruleNamesImage(rule, normaliseReference(reference))) ?? false;
}

/** Whether the rule applies in the namespace. A rule without namespaces applies everywhere. */
export function ruleMatchesNamespace(rule: TrustRule, namespace: string): boolean {
  return [rule.narrows, rule.namespaces].every(
    (patterns) => patterns?.some((pattern) => globMatches(pattern, namespace)) ?? true,
  );
}

/**
 * Whether an image pattern matches repositories of any registry without naming one: it has two wildcards, or
 * a wildcard before the first slash.
 */
export function matchesAnyRegistry(pattern: string): boolean {
  return samples(parseImagePattern(pattern)).some(({ registry }) => registry.replace(/:.*$/, '') === unspelt);
}

/**
 * Whether `outer` matches every image that `inner` matches. Exact for patterns in which no wildcard is part
 * of a longer name.
 */
function patternCovers(outer: string, inner: string): boolean {
  const pattern = parseImagePattern(outer);
  return samples(parseImagePattern(inner)).every((image) => patternMatches(pattern, image));
}

/** Whether the rule excepts every image that it names, so that it matches nothing. */
export function exceptsItself({ images, except = [] }: TrustRule): boolean {
  return images.every((inner) => except.some((outer) => patternCovers(outer, inner)));
}

/**
 * Returns the rule that leaves `rule` without any effect, or undefined when there is none. A rule that
 * requires proof shadows a rule that allows unverified images, because the latter counts only where no other
 * rule matches. A rule that denies shadows a rule that requires proof.
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

/**
 * Returns images that the pattern matches, with {@link unspelt} in place of the wildcards: the shortest and
 * the longest.
 */
function samples({ host, path, tag, digest }: ImagePattern): readonly NamedImage[] {
  const fill = (text: string): string => text.replaceAll('*', unspelt);
  const paths = path.reduce<readonly (readonly string[])[]>(
    (all, part, index) => {
      if (part !== '**') return all.map((before) => [...before, fill(part)]);
      const least = index === path.length - 1 ? 1 : 0;
      if (all.length >= 64) return all.map((before) => [...before, ...Array<string>(least).fill(unspelt)]);
      return [least, 3].flatMap((count) =>
        all.map((before) => [...before, ...Array<string>(count).fill(unspelt)]),
      );
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
  return named.flatMap(({ registry, path: one }) =>
    tags.map((each) => ({ registry, repository: one.join('/') || unspelt, ...each })),
  );
}

/** Returns a registry that the pattern of the host matches. */
function hostOf(host: string): string {
  return host.replace(/:\*$/, ':49151').replaceAll('*', unspelt);
}

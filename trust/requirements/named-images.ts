import { formatReference, hubHosts, parseReference } from '../../base/distribution/index.ts';
import { parseImagePattern, patternMatches } from './image-pattern.ts';
import type { ImagePattern, NamedImage } from './image-pattern.ts';
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

/**
 * Whether the rule's image patterns match the reference, whatever the namespace. A rule that requires or
 * denies also matches the other names of the registry: they lead to the same images, and would evade it.
 */
export function ruleNamesImage(rule: TrustRule, reference: NormalisedReference): boolean {
  if (namesAsWritten(rule, reference)) return true;
  if (rule.allowUnverified) return false;
  const others = otherNames(reference.registry).map((registry) => ({ ...reference, registry }));
  // An image that the rule excepts under one of its names is excepted.
  return (
    others.some((other) => isAmong(rule.images, other)) &&
    ![reference, ...others].some((name) => isAmong(rule.except, name))
  );
}

/** The digest of a pattern of a loaded policy. It is read without parsing: a rule may deny thousands. */
function digestIn(pattern: string): string | undefined {
  const at = pattern.indexOf('@');
  return at === -1 ? undefined : pattern.slice(at + 1);
}

/** Whether a pattern of a loaded policy names a digest. */
export const namesDigest = (pattern: string): boolean => digestIn(pattern) !== undefined;

/** Returns the digest that cannot be compared with the digests of patterns, which all are of sha256. */
const incomparable = (digests: readonly string[]): string | undefined =>
  digests.find((digest) => digest !== '' && !digest.startsWith('sha256:'));

/** Returns the digest in a reference, if it cannot be compared with the digests of patterns. */
export function incomparableIn({ digest = '' }: NormalisedReference): readonly string[] {
  return incomparable([digest]) === undefined ? [] : [digest];
}

/**
 * Returns whether a rule that denies names one of the digests of an image, whatever the reference to the
 * image is. Otherwise a tag would evade the rule, or the digest of the index a rule for the manifest. An
 * image with a digest of another algorithm counts as one that has each denied digest.
 */
export function deniesDigest(
  rule: TrustRule,
  reference: NormalisedReference,
  digests: readonly string[],
): boolean {
  if (rule.deny === undefined || digests.length === 0) return false;
  if (incomparable(digests) !== undefined && deniedDigests(rule, reference).length > 0) return true;
  const pinned = rule.images.filter((pattern) => digests.includes(digestIn(pattern) ?? ''));
  if (pinned.length === 0) return false;
  const written = namesOf(reference);
  const byDigest = digests.flatMap((digest) => withDigest(written, digest));
  return (
    byDigest.some((image) => isAmong(pinned, image)) &&
    ![...written, ...byDigest].some((image) => isAmong(rule.except, image))
  );
}

/**
 * Returns the digest of an image because of which a rule denies it: the digest cannot be compared with those
 * that the rule names.
 */
export function incomparableDigest(
  rule: TrustRule,
  reference: NormalisedReference,
  digests: readonly string[],
): string | undefined {
  return ruleNamesImage(rule, reference) ? undefined : incomparable(digests);
}

/** Returns the digests by which a rule denies the image, if the image has one of them. */
export function deniedDigests(rule: TrustRule, reference: NormalisedReference): readonly string[] {
  if (rule.deny === undefined) return [];
  const written = namesOf(reference);
  if (written.some((image) => isAmong(rule.except, image))) return [];
  const isNamed = new Map<string, boolean>();
  const found = rule.images.filter((pattern) => {
    const digest = digestIn(pattern);
    if (digest === undefined) return false;
    // Without the digest, the pattern is one for the whole repository.
    const name = pattern.slice(0, pattern.indexOf('@'));
    if (!isNamed.has(name))
      isNamed.set(
        name,
        written.some((image) => patternMatches(compiled(name), image)),
      );
    return (
      isNamed.get(name) === true && !withDigest(written, digest).some((image) => isAmong(rule.except, image))
    );
  });
  return [...new Set(found.flatMap((pattern) => digestIn(pattern) ?? []))];
}

/** Returns an image under all names of its registry. */
function namesOf({ registry, repository, tag, digest }: NormalisedReference): readonly NamedImage[] {
  return [registry, ...otherNames(registry)].map((host) => ({
    ...{ registry: host, repository },
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
  }));
}

const withDigest = (images: readonly NamedImage[], digest: string): readonly NamedImage[] =>
  images.map(({ registry, repository }) => ({ registry, repository, digest }));

/** Whether the rule's image patterns match the reference, and not only another name of its registry. */
export function namesAsWritten(rule: TrustRule, reference: NamedImage): boolean {
  return isAmong(rule.images, reference) && !isAmong(rule.except, reference);
}

function isAmong(patterns: readonly string[] = [], image: NamedImage): boolean {
  return patterns.some((pattern) => {
    const digest = digestIn(pattern);
    return (digest === undefined || digest === image.digest) && patternMatches(compiled(pattern), image);
  });
}

/** The ports of HTTPS, and of HTTP to a registry that is configured so. */
const defaultPorts: readonly string[] = ['', ':443', ':80'];

/** Returns the other names of a registry: with and without a default port, and the hosts of Docker Hub. */
export function otherNames(registry: string): readonly string[] {
  const port = defaultPorts.find((one) => one !== '' && registry.endsWith(one)) ?? '';
  const host = registry.slice(0, registry.length - port.length);
  if (port === '' && /:[0-9]+$/.test(host)) return [];
  const hosts = hubHosts.includes(host) ? hubHosts : [host];
  return hosts
    .flatMap((name) => defaultPorts.map((end) => `${name}${end}`))
    .filter((name) => name !== registry);
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

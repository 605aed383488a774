import { childrenOf, contextTag, derTag, DerError, expectTag } from './der.ts';
import type { DerElement } from './der.ts';
import { readStrict } from './der-strict.ts';
import { readOid } from './der-values.ts';
import { asciiText } from './subject-names.ts';

const ocspMethod = '1.3.6.1.5.5.7.48.1';
const uriTag = contextTag(6, 'primitive');
const maximumEntries = 64;

/**
 * Returns the URIs of the OCSP responders in AuthorityInfoAccess (RFC 5280 section 4.2.2.1). @throws DerError
 */
export function readResponderUrls(value: Buffer): string[] {
  return childrenOf(
    expectTag(readStrict(value), derTag.sequence, 'authorityInfoAccess'),
    maximumEntries,
  ).flatMap((description) => {
    const [method, location, more] = childrenOf(
      expectTag(description, derTag.sequence, 'an access description'),
    );
    if (location === undefined || more !== undefined)
      throw new DerError('an access description is malformed', description.offset);
    return readOid(method, 'an access method') === ocspMethod && location.tag === uriTag
      ? [asciiText(location)]
      : [];
  });
}

/** Returns the URIs of CRLDistributionPoints and FreshestCRL (RFC 5280 section 4.2.1.13). @throws DerError */
export function readPointUrls(value: Buffer): string[] {
  return childrenOf(
    expectTag(readStrict(value), derTag.sequence, 'the distribution points'),
    maximumEntries,
  ).flatMap((point) => {
    const parts = childrenOf(expectTag(point, derTag.sequence, 'a distribution point'), 4);
    const name = onlyOf(parts, point);
    const full = name === undefined ? undefined : onlyOf(childrenOf(name, 2), point);
    return full === undefined
      ? []
      : childrenOf(full, maximumEntries)
          .filter(({ tag }) => tag === uriTag)
          .map(asciiText);
  });
}

/** Returns the constructed context element 0, which may occur only once. */
function onlyOf(parts: readonly DerElement[], within: DerElement): DerElement | undefined {
  const [found, more] = parts.filter(({ tag }) => tag === contextTag(0, 'constructed'));
  if (more !== undefined) throw new DerError('a distribution point is malformed', within.offset);
  return found;
}

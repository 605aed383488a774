import { childrenOf, derTag, DerError, expectTag } from './der.ts';
import type { DerElement } from './der.ts';
import { readOid, readTrueOrAbsent } from './der-values.ts';

/** One extension of a certificate, revocation list, revoked entry, OCSP response or timestamp. */
export interface Extension {
  readonly critical: boolean;
  /** The content of extnValue. */
  readonly value: Buffer;
  /** The complete Extension element, to remove it from the signed part (RFC 6962 section 3.2). */
  readonly element: DerElement;
}

export const extensionOid = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  invalidityDate: '2.5.29.24',
  deltaCrlIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  nameConstraints: '2.5.29.30',
  crlDistributionPoints: '2.5.29.31',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  freshestCrl: '2.5.29.46',
  authorityInformation: '1.3.6.1.5.5.7.1.1',
} as const;

/**
 * Reads `Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension` (RFC 5280 section 4.2).
 * @returns by OID
 * @throws DerError when the list is malformed or empty, or contains an extension twice
 */
export function readExtensions(list: DerElement): ReadonlyMap<string, Extension> {
  const extensions = new Map<string, Extension>();
  for (const element of childrenOf(expectTag(list, derTag.sequence, 'the extensions'))) {
    const parts = childrenOf(expectTag(element, derTag.sequence, 'an extension'), 4);
    const oid = readOid(parts.shift(), "an extension's name");
    const critical = readTrueOrAbsent(
      parts[0]?.tag === derTag.boolean ? parts.shift() : undefined,
      "an extension's mark as critical",
    );
    const [value, more] = parts;
    if (more !== undefined) throw new DerError('an extension is malformed', more.offset);
    if (extensions.has(oid)) throw new DerError(`the extension ${oid} occurs twice`, element.offset);
    extensions.set(oid, {
      critical,
      value: expectTag(value, derTag.octetString, "an extension's value").content,
      element,
    });
  }
  if (extensions.size === 0) throw new DerError('the extensions are empty', list.offset);
  return extensions;
}

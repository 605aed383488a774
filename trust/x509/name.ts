import { append } from '../../base/lists/index.ts';
import { childrenOf, derTag, DerError, expectTag } from './der.ts';
import type { DerElement } from './der.ts';
import { readOid, textOf } from './der-values.ts';

/** One attribute of a distinguished name. */
export interface NameAttribute {
  /** `CN`, `O`, … or the dotted object identifier of a type without a short name here. */
  readonly type: string;
  readonly value: string;
}

/** A parsed Name (RFC 5280 section 4.1.2.4). */
export interface DistinguishedName {
  /** In order; the attributes of one relative distinguished name follow one another. */
  readonly attributes: readonly NameAttribute[];
  /** `CN=…, O=…` for display, without control characters. */
  readonly text: string;
  /**
   * One text for each relative distinguished name; equal texts denote the same name (RFC 5280 section 7.1).
   */
  readonly comparable: readonly string[];
}

/** RFC 4514 section 3, and the types that notation's library writes by name. */
const shortNames: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.5': 'SERIALNUMBER',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'STREET',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.17': 'POSTALCODE',
};

/**
 * emailAddress of PKCS #9. Name constraints of e-mail addresses apply to it, too (RFC 5280 section 4.2.1.10).
 */
export const emailAttribute = '1.2.840.113549.1.9.1';

const maximumAttributes = 256;

/** Reads a Name. @throws DerError */
export function readName(name: DerElement): DistinguishedName {
  const attributes: NameAttribute[] = [];
  const comparable: string[] = [];
  for (const set of childrenOf(expectTag(name, derTag.sequence, 'a name'), maximumAttributes)) {
    const pairs = childrenOf(expectTag(set, derTag.set, 'a relative name'), maximumAttributes).map(readPair);
    if (pairs.length === 0) throw new DerError('a relative name is empty', set.offset);
    append(
      attributes,
      pairs.map(({ attribute }) => attribute),
    );
    comparable.push(JSON.stringify(pairs.map((pair) => pair.comparable).sort()));
  }
  if (attributes.length > maximumAttributes)
    throw new DerError(`a name has more than ${maximumAttributes} attributes`, name.offset);
  const text = attributes.map(({ type, value }) => `${type}=${value}`).join(', ');
  return { attributes, text: text.slice(0, 512).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?'), comparable };
}

function readPair(pair: DerElement): { readonly attribute: NameAttribute; readonly comparable: string } {
  const [type, value, more] = childrenOf(expectTag(pair, derTag.sequence, 'an attribute of a name'));
  const oid = readOid(type, 'the type of an attribute');
  if (value === undefined || more !== undefined)
    throw new DerError('an attribute of a name is malformed', pair.offset);
  const text = textOf(value.tag, value.content);
  if (text === undefined) throw new DerError('an attribute of a name is not a string', value.offset);
  // Case, runs of blanks and the string type do not distinguish names (RFC 5280 section 7.1).
  const plain = text.normalize('NFKC').toLowerCase().trim().replace(/\s+/gu, ' ');
  return { attribute: { type: shortNames[oid] ?? oid, value: text }, comparable: `${oid}=${plain}` };
}

import { childrenOf, contextTag, derTag, DerError, expectTag, onlyChild } from './der.ts';
import type { DerElement } from './der.ts';
import { readStrict } from './der-strict.ts';
import { readOid } from './der-values.ts';
import type { Extension } from './extensions.ts';
import { readName } from './name.ts';
import type { DistinguishedName } from './name.ts';

/** The subject alternative names of a certificate, in the forms that name constraints and policies use. */
export interface SubjectNames {
  readonly emails: readonly string[];
  readonly hosts: readonly string[];
  readonly uris: readonly string[];
  /** Four or sixteen bytes. */
  readonly addresses: readonly Buffer[];
  readonly directoryNames: readonly DistinguishedName[];
  /** otherName: the type, and the value inside its explicit tag. */
  readonly others: readonly { readonly type: string; readonly value: DerElement }[];
  /**
   * Whether an e-mail address has a form that constraints are not compared with (SmtpUTF8Mailbox, RFC 9598).
   */
  readonly hasOtherEmail: boolean;
}

export const noNames: SubjectNames = {
  emails: [],
  hosts: [],
  uris: [],
  addresses: [],
  directoryNames: [],
  others: [],
  hasOtherEmail: false,
};

/** Tags of GeneralName (RFC 5280 section 4.2.1.6). */
export const generalName = {
  other: 0xa0,
  email: 0x81,
  host: 0x82,
  directory: 0xa4,
  uri: 0x86,
  address: 0x87,
} as const;

/**
 * x400Address, ediPartyName and registeredID. They identify no signer here, but are valid forms of a name.
 */
const passedOver: readonly number[] = [0xa3, 0xa5, 0x88];
const smtpUtf8Mailbox = '1.3.6.1.5.5.7.8.9';

/** More than any certificate has; bounds the names that constraints are compared with. */
export const maximumNames = 1024;

/**
 * Reads GeneralNames (RFC 5280 section 4.2.1.6). @throws DerError when they are malformed, empty, or too many
 */
export function readSubjectNames(extension: Extension | undefined): SubjectNames {
  if (extension === undefined) return noNames;
  const names = childrenOf(
    expectTag(readStrict(extension.value), derTag.sequence, 'the subject names'),
    maximumNames,
  );
  if (names.length === 0) throw new DerError('the subject names are empty', 0);
  const of = (tag: number): readonly DerElement[] => names.filter((name) => name.tag === tag);
  const known: readonly number[] = [...Object.values(generalName), ...passedOver];
  const foreign = names.find(({ tag }) => !known.includes(tag));
  if (foreign !== undefined) throw new DerError('a subject name has an unknown form', foreign.offset);
  const others = of(generalName.other).map(readOther);
  return {
    emails: of(generalName.email).map(asciiText),
    hosts: of(generalName.host).map(asciiText),
    uris: of(generalName.uri).map(asciiText),
    addresses: of(generalName.address).map(addressOf),
    directoryNames: of(generalName.directory).map((name) => readName(onlyChild(name))),
    others,
    hasOtherEmail: others.some(({ type }) => type === smtpUtf8Mailbox),
  };
}

function readOther(name: DerElement): { readonly type: string; readonly value: DerElement } {
  const [type, wrapper, more] = childrenOf(name, 3);
  if (more !== undefined) throw new DerError('a subject name is malformed', name.offset);
  return {
    type: readOid(type, 'the type of a subject name'),
    value: onlyChild(expectTag(wrapper, contextTag(0, 'constructed'), 'the value of a subject name')),
  };
}

/**
 * Returns an IA5String without hidden text: a zero byte has ended names for readers in C before
 * (CVE-2009-2408).
 * @throws DerError
 */
export function asciiText({ content, offset }: DerElement): string {
  if (content.some((byte) => byte < 0x20 || byte > 0x7e))
    throw new DerError('a name has characters beyond printable ASCII', offset);
  return content.toString('latin1');
}

function addressOf({ content, offset }: DerElement): Buffer {
  if (content.length !== 4 && content.length !== 16)
    throw new DerError('an address has neither 4 nor 16 bytes', offset);
  return content;
}

import { childrenOf, derTag, DerError, expectTag, readDer } from './der.ts';
import { extensionOid } from './certificate.ts';
import type { Certificate } from './certificate.ts';

/** The subject's other names of a certificate, of the forms that name constraints and policies speak about. */
export interface SubjectNames {
  readonly emails: readonly string[];
  readonly hosts: readonly string[];
  readonly uris: readonly string[];
  /** Four or sixteen bytes. */
  readonly addresses: readonly Buffer[];
}

/** Reads GeneralNames (RFC 5280 section 4.2.1.6); other forms are passed over. @throws DerError when they are malformed */
export function subjectNamesOf(certificate: Certificate): SubjectNames {
  const extension = certificate.extensions.get(extensionOid.subjectAltName);
  const names = extension === undefined ? [] : childrenOf(expectTag(readDer(extension.value), derTag.sequence, 'the subject names'));
  const texts = (tag: number): readonly string[] => names.filter((name) => name.tag === tag).map(({ content }) => asciiText(content));
  return {
    emails: texts(0x81),
    hosts: texts(0x82),
    uris: texts(0x86),
    addresses: names.filter(({ tag }) => tag === 0x87).map(({ content }) => addressOf(content)),
  };
}

/** An IA5String that hides nothing: a zero byte has ended names for readers in C before (CVE-2009-2408). */
export function asciiText(content: Buffer): string {
  if (content.some((byte) => byte < 0x20 || byte > 0x7e)) throw new DerError('a name has characters beyond printable ASCII', 0);
  return content.toString('latin1');
}

function addressOf(content: Buffer): Buffer {
  if (content.length !== 4 && content.length !== 16) throw new DerError('an address has neither 4 nor 16 bytes', 0);
  return content;
}

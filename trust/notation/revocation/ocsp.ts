import { createHash } from 'node:crypto';
import { isSignedBy, keyUsageBit, readCertificate } from '../../x509/certificate.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { childrenOf, contextTag, derTag, DerError, expectTag, onlyChild } from '../../x509/der.ts';
import type { DerElement } from '../../x509/der.ts';
import { readStrict } from '../../x509/der-strict.ts';
import {
  readBits,
  readGeneralizedTime,
  readInteger,
  readOid,
  readSmallInteger,
} from '../../x509/der-values.ts';
import { algorithmWithNull, integer, octets as octetString, sequence } from '../../x509/der-writer.ts';
import { extensionOid, readExtensions } from '../../x509/extensions.ts';
import type { Extension } from '../../x509/extensions.ts';
import { pathFlaw } from '../../x509/path.ts';
import {
  isSignatureBy,
  readDigest,
  readPlainAlgorithm,
  readSignatureAlgorithm,
} from '../../x509/signature-algorithm.ts';
import { oids } from '../../x509/oids.ts';
import { clockSkew, timeText, unknown } from './status.ts';
import type { JudgedCertificate, RevocationStatus } from './status.ts';

/**
 * Returns an OCSP request for one certificate (RFC 6960 section 4.1.1), without a nonce, because responders
 * may prepare answers in advance. The certificate is named by SHA-1, the only digest that every responder
 * knows. SHA-1 proves nothing here; the signature of the answer does.
 */
export function ocspRequest(certificate: Certificate, issuer: Certificate): Buffer {
  const certId = sequence(
    algorithmWithNull(oids.sha1),
    octetString(hashed('sha1', issuer.subject)),
    octetString(hashed('sha1', issuer.keyBits)),
    integer(certificate.serial),
  );
  return sequence(sequence(sequence(sequence(certId))));
}

const failures: Readonly<Record<number, string>> = {
  1: 'the request is malformed',
  2: 'an internal error',
  3: 'try later',
  5: 'sign the request',
  6: 'not authorised',
};

/**
 * Returns the status of a certificate in an OCSP response (RFC 6960 section 4.2). The response must
 * be signed by the issuer or by a responder that it has delegated, be for this certificate, and be fresh.
 * Never throws: an unreadable response yields unknown.
 */
export function judgeOcsp(bytes: Uint8Array, judged: JudgedCertificate): RevocationStatus {
  try {
    return judge(bytes, judged);
  } catch (error) {
    return unknown(`its OCSP answer cannot be used: ${(error as Error).message}`);
  }
}

function judge(
  bytes: Uint8Array,
  { certificate, issuer, now, signingTime }: JudgedCertificate,
): RevocationStatus {
  const [status, wrapped] = childrenOf(expectTag(readStrict(bytes), derTag.sequence, 'the response'), 2);
  const code = readSmallInteger(status, 'the status', derTag.enumerated);
  if (code !== 0) return unknown(`the OCSP responder says: ${failures[code] ?? `error ${code}`}`);
  const body = onlyChild(expectTag(wrapped, contextTag(0, 'constructed'), 'the response'));
  const [type, octets] = childrenOf(expectTag(body, derTag.sequence, 'the response'), 2);
  if (readOid(type, 'the type of the response') !== oids.ocspBasic) throw new Error('its type is not basic');
  const basic = readStrict(expectTag(octets, derTag.octetString, 'the response').content);
  const [data, algorithm, signature, certificates] = childrenOf(
    expectTag(basic, derTag.sequence, 'the response'),
    4,
  );
  const responses = expectTag(data, derTag.sequence, 'the response data');
  const list =
    certificates === undefined
      ? undefined
      : onlyChild(expectTag(certificates, contextTag(0, 'constructed'), 'the certificates'));
  const held = list === undefined ? [] : childrenOf(expectTag(list, derTag.sequence, 'the certificates'), 8);
  const signers = [
    issuer,
    ...held.map((one) => readCertificate(one.whole)).filter((one) => isResponder(one, issuer, now)),
  ];
  const signedWith = readSignatureAlgorithm(algorithm);
  const value = readBits(signature, 'the signature');
  if (!signers.some((signer) => isSignatureBy(signedWith, signer.key, responses.whole, value)))
    return unknown(
      "its OCSP answer is not signed by the certificate's issuer, nor by a responder of the issuer",
    );
  const single = findSingle(responses, certificate, issuer);
  if (single === undefined) return unknown('its OCSP answer is about another certificate');
  return judgeSingle(single, now, signingTime);
}

/**
 * Checks a delegated responder (RFC 6960 section 4.2.2.2): issued by the certificate's issuer itself, for
 * OCSP signing, valid now. The issuer's own extended key usage does not matter, because the issuer only
 * delegates what it could answer itself.
 */
function isResponder(responder: Certificate, issuer: Certificate, now: number): boolean {
  return (
    responder.extendedKeyUsage?.includes(oids.ocspSigning) === true &&
    (responder.keyUsage === undefined || (responder.keyUsage & keyUsageBit.digitalSignature) !== 0) &&
    responder.notBefore <= now &&
    now <= responder.notAfter &&
    isSignedBy(responder, issuer) &&
    pathFlaw([responder, issuer]) === undefined
  );
}

/**
 * Finds the answer for the certificate in ResponseData (RFC 6960 section 4.2.1): each field once, in order.
 * @throws DerError
 */
function findSingle(
  responses: DerElement,
  certificate: Certificate,
  issuer: Certificate,
): readonly DerElement[] | undefined {
  const fields = childrenOf(responses, 5);
  const [responder, producedAt, list, extended, more] = fields;
  // Version 1 is the default, which DER omits.
  if (
    responder === undefined ||
    ![contextTag(1, 'constructed'), contextTag(2, 'constructed')].includes(responder.tag)
  )
    throw new DerError('the responder is not named', responses.offset);
  readGeneralizedTime(producedAt, 'producedAt');
  if (more !== undefined || (extended !== undefined && extended.tag !== contextTag(1, 'constructed')))
    throw new DerError('the response data has an unknown field', responses.offset);
  refuseCritical(extended);
  return childrenOf(expectTag(list, derTag.sequence, 'the responses'), 256)
    .map((one) => childrenOf(expectTag(one, derTag.sequence, 'a response'), 5))
    .find(([certId]) =>
      isAbout(expectTag(certId, derTag.sequence, 'the name of a certificate'), certificate, issuer),
    );
}

function isAbout(certId: DerElement, certificate: Certificate, issuer: Certificate): boolean {
  const [algorithm, name, key, serial, more] = childrenOf(certId, 5);
  if (more !== undefined) throw new DerError('the name of a certificate is malformed', certId.offset);
  const what = 'the digest of a name';
  const hash = readPlainAlgorithm(algorithm, what) === oids.sha1 ? 'sha1' : readDigest(algorithm, what);
  return (
    hash !== undefined &&
    readInteger(serial, 'a serial number').equals(certificate.serial) &&
    expectTag(name, derTag.octetString, "the issuer's name").content.equals(hashed(hash, issuer.subject)) &&
    expectTag(key, derTag.octetString, "the issuer's key").content.equals(hashed(hash, issuer.keyBits))
  );
}

/**
 * Reads a SingleResponse: the status, thisUpdate, then nextUpdate and extensions, each once and in order.
 * @throws DerError
 */
function judgeSingle(
  [, status, thisUpdate, ...rest]: readonly DerElement[],
  now: number,
  signingTime: number | undefined,
): RevocationStatus {
  const from = readGeneralizedTime(thisUpdate, 'thisUpdate');
  const next = rest[0]?.tag === contextTag(0, 'constructed') ? rest.shift() : undefined;
  const extended = rest[0]?.tag === contextTag(1, 'constructed') ? rest.shift() : undefined;
  if (rest[0] !== undefined) throw new DerError('a response has an unknown field', rest[0].offset);
  const extensions = refuseCritical(extended);
  if (from > now + clockSkew)
    return unknown(`its OCSP answer is dated ${timeText(from)}, which is in the future`);
  // Without nextUpdate, an answer is valid only at the moment it is given (RFC 6960 section 4.2.2.1); a
  // stored answer is older.
  if (next === undefined) return unknown('its OCSP answer does not state until when it is valid');
  const until = readGeneralizedTime(onlyChild(next), 'nextUpdate');
  if (until < now) return unknown(`its OCSP answer was valid until ${timeText(until)}`);
  if (status?.tag === contextTag(0, 'primitive')) {
    if (status.content.length > 0) throw new DerError('the status good has content', status.offset);
    return {
      status: 'good',
      says: `its OCSP responder says that it is good, until ${timeText(until)}`,
      until,
    };
  }
  if (status?.tag === contextTag(1, 'constructed')) {
    const invalidity = extensions.get(extensionOid.invalidityDate);
    const invalidFrom =
      invalidity === undefined
        ? undefined
        : readGeneralizedTime(readStrict(invalidity.value), 'the invalidity date');
    if (invalidFrom !== undefined && signingTime !== undefined && signingTime < invalidFrom)
      return { status: 'good', says: 'it was revoked with an invalidity date after the signing time', until };
    const at = readGeneralizedTime(childrenOf(status, 2)[0], 'the time of the revocation');
    return { status: 'revoked', says: `its OCSP responder says it was revoked at ${timeText(at)}` };
  }
  return unknown('its OCSP responder does not know it');
}

function refuseCritical(tagged: DerElement | undefined): ReadonlyMap<string, Extension> {
  const extensions = tagged === undefined ? new Map<string, Extension>() : readExtensions(onlyChild(tagged));
  for (const [oid, { critical }] of extensions)
    if (critical) throw new Error(`it has the critical extension ${oid}, which is not understood`);
  return extensions;
}

function hashed(hash: string, bytes: Uint8Array): Buffer {
  return createHash(hash).update(bytes).digest();
}

import { createHash } from 'node:crypto';
import { isIssuedBy, readCertificate, readExtensions } from '../certificate.ts';
import type { Certificate } from '../certificate.ts';
import { bitStringOf, childrenOf, contextTag, derTags, expectTag, oidOf, readDer, smallIntegerOf, timeOf } from '../der.ts';
import type { Der } from '../der.ts';
import { der, derAlgorithm, derUnsigned } from '../der-write.ts';
import { hashes, oids } from '../names.ts';
import { readSignatureAlgorithm, verifyWith } from '../signature-algorithm.ts';
import { clockSkew, timeText, unknown } from './status.ts';
import type { RevocationStatus } from './status.ts';

/**
 * An OCSP request for one certificate (RFC 6960 section 4.1.1), without a nonce: answers may be made beforehand. The certificate is
 * named by SHA-1, the only digest that every responder knows; it proves nothing here, the answer's signature does.
 */
export function ocspRequest(certificate: Certificate, issuer: Certificate): Buffer {
  const certId = der(
    derTags.sequence,
    derAlgorithm(oids.sha1),
    der(derTags.octetString, hashed('sha1', issuer.subjectRaw)),
    der(derTags.octetString, hashed('sha1', issuer.keyBits)),
    derUnsigned(certificate.serial),
  );
  return der(derTags.sequence, der(derTags.sequence, der(derTags.sequence, der(derTags.sequence, certId))));
}

const failures: Readonly<Record<number, string>> = {
  1: 'the request is malformed',
  2: 'an internal error',
  3: 'try later',
  5: 'sign the request',
  6: 'not authorised',
};

/**
 * What an OCSP response says of a certificate at `now` (RFC 6960 section 4.2): signed by the issuer or by a responder that it has
 * delegated, for this certificate, and fresh. Never throws: what can not be read is unknown.
 * @param signingTime of signing authorities only: a revocation whose invalidity begins later does not hold (milliseconds)
 */
export function judgeOcsp(
  bytes: Uint8Array,
  certificate: Certificate,
  issuer: Certificate,
  now: number,
  signingTime?: number,
): RevocationStatus {
  try {
    return judge(bytes, certificate, issuer, now, signingTime);
  } catch (error) {
    return unknown(`its OCSP answer can not be used: ${(error as Error).message}`);
  }
}

function judge(
  bytes: Uint8Array,
  certificate: Certificate,
  issuer: Certificate,
  now: number,
  signingTime: number | undefined,
): RevocationStatus {
  const [status, wrapped] = childrenOf(readDer(bytes, derTags.sequence));
  const code = smallIntegerOf(status, derTags.enumerated);
  if (code !== 0) return unknown(`the OCSP responder says: ${failures[code] ?? `error ${code}`}`);
  const [type, octets] = childrenOf(expectTag(childrenOf(expectTag(wrapped, contextTag(0, 'constructed')))[0], derTags.sequence));
  if (oidOf(type) !== oids.ocspBasic) throw new Error('it is of another type than basic');
  const [data, algorithm, signature, certificates] = childrenOf(readDer(expectTag(octets, derTags.octetString).content, derTags.sequence));
  const responses = expectTag(data, derTags.sequence);
  const held = certificates === undefined ? [] : childrenOf(expectTag(childrenOf(certificates)[0], derTags.sequence), 8);
  const signers = [issuer, ...held.map((one) => readCertificate(one.raw)).filter((one) => isResponder(one, issuer, now))];
  const signedWith = readSignatureAlgorithm(expectTag(algorithm, derTags.sequence));
  const value = bitStringOf(signature);
  if (!signers.some((signer) => verifyWith(signedWith, signer.key, responses.raw, value)))
    return unknown("its OCSP answer is not signed by the certificate's issuer, nor by a responder of his");
  const single = findSingle(responses, certificate, issuer);
  if (single === undefined) return unknown('its OCSP answer is about another certificate');
  return judgeSingle(single, now, signingTime);
}

/** RFC 6960 section 4.2.2.2: issued by the certificate's issuer himself, for OCSP signing, valid now. */
function isResponder(responder: Certificate, issuer: Certificate, now: number): boolean {
  return (
    responder.extendedKeyUsage?.purposes.includes(oids.ocspSigning) === true &&
    responder.notBefore <= now &&
    now <= responder.notAfter &&
    isIssuedBy(responder, issuer)
  );
}

function findSingle(responses: Der, certificate: Certificate, issuer: Certificate): readonly Der[] | undefined {
  const parts = childrenOf(responses);
  const position = parts.findIndex((part) => part.tag === derTags.sequence);
  const list = parts[position];
  // The responder's own name, before the list, has the same tag as the extensions after it.
  refuseCritical(parts.slice(position + 1).find((part) => part.tag === contextTag(1, 'constructed')));
  return childrenOf(expectTag(list, derTags.sequence), 256)
    .map((one) => childrenOf(one))
    .find(([certId]) => isAbout(expectTag(certId, derTags.sequence), certificate, issuer));
}

function isAbout(certId: Der, certificate: Certificate, issuer: Certificate): boolean {
  const [algorithm, name, key, serial] = childrenOf(certId);
  const oid = oidOf(childrenOf(expectTag(algorithm, derTags.sequence))[0]);
  const hash = oid === oids.sha1 ? 'sha1' : hashes[oid];
  return (
    hash !== undefined &&
    expectTag(serial, derTags.integer).content.equals(certificate.serial) &&
    expectTag(name, derTags.octetString).content.equals(hashed(hash, issuer.subjectRaw)) &&
    expectTag(key, derTags.octetString).content.equals(hashed(hash, issuer.keyBits))
  );
}

function judgeSingle([, status, thisUpdate, ...rest]: readonly Der[], now: number, signingTime: number | undefined): RevocationStatus {
  const from = timeOf(expectTag(thisUpdate, derTags.generalizedTime));
  const next = rest.find((part) => part.tag === contextTag(0, 'constructed'));
  const extensions = refuseCritical(rest.find((part) => part.tag === contextTag(1, 'constructed')));
  if (from > now + clockSkew) return unknown(`its OCSP answer is of ${timeText(from)}, which is in the future`);
  // Without nextUpdate an answer holds at the moment it is given only (RFC 6960 section 4.2.2.1); a stored one is older.
  if (next === undefined) return unknown('its OCSP answer does not say until when it holds');
  const until = timeOf(childrenOf(next)[0]);
  if (until < now) return unknown(`its OCSP answer held until ${timeText(until)}`);
  if (status?.tag === contextTag(0, 'primitive'))
    return { status: 'good', says: `its OCSP responder says good, until ${timeText(until)}`, until };
  if (status?.tag === contextTag(1, 'constructed')) {
    const invalidity = extensions.get(oids.invalidityDate);
    if (invalidity !== undefined && signingTime !== undefined && signingTime < timeOf(readDer(invalidity.value.content)))
      return { status: 'good', says: 'it was revoked with an invalidity date after the signing time', until };
    return { status: 'revoked', says: `its OCSP responder says it was revoked at ${timeText(timeOf(childrenOf(status)[0]))}` };
  }
  return unknown('its OCSP responder does not know it');
}

function refuseCritical(tagged: Der | undefined): ReturnType<typeof readExtensions> {
  const extensions = readExtensions(tagged);
  for (const [oid, { critical }] of extensions)
    if (critical) throw new Error(`it holds the critical extension ${oid}, which is not understood`);
  return extensions;
}

function hashed(hash: string, bytes: Uint8Array): Buffer {
  return createHash(hash).update(bytes).digest();
}

import { constants, verify } from 'node:crypto';
import type { KeyObject, VerifyKeyObjectInput } from 'node:crypto';
import { attempt } from '../../base/errors/index.ts';
import { createMemory, nameOfKey } from '../keys/remembered.ts';
import { childrenOf, contextTag, derTag, DerError, expectTag, onlyChild } from './der.ts';
import type { DerElement } from './der.ts';
import { readOid, readSmallInteger } from './der-values.ts';

/** Digests that count. SHA-1 and older digests prove nothing. */
export type Digest = 'sha256' | 'sha384' | 'sha512';

type MlDsa = 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87';

/** How a certificate, revocation list, OCSP response or CMS message is signed. */
export type SignatureAlgorithm =
  | { readonly kind: 'pkcs1' | 'pss' | 'ecdsa'; readonly hash: Digest }
  | { readonly kind: 'ed25519' | MlDsa };

const digests: Readonly<Record<string, Digest>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
const digestBytes: Readonly<Record<Digest, number>> = { sha256: 32, sha384: 48, sha512: 64 };

const rsaPss = '1.2.840.113549.1.1.10';
const maskByHash = '1.2.840.113549.1.1.8';
const rsaEncryption = '1.2.840.113549.1.1.1';
const pkcs1: Readonly<Record<string, Digest>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
};
const ecdsa: Readonly<Record<string, Digest>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
};
/**
 * Algorithms that take the message itself: Ed25519 (RFC 8410 section 3) and pure ML-DSA (RFC 9881 section
 * 2).
 */
const undigested: Readonly<Record<string, 'ed25519' | MlDsa>> = {
  '1.3.101.112': 'ed25519',
  '2.16.840.1.101.3.4.3.17': 'ml-dsa-44',
  '2.16.840.1.101.3.4.3.18': 'ml-dsa-65',
  '2.16.840.1.101.3.4.3.19': 'ml-dsa-87',
};

/**
 * Reads an AlgorithmIdentifier of a signature.
 * @param digest the digest of CMS, where the algorithm may be plain rsaEncryption (RFC 5652 section 10.1.2)
 * @returns undefined for an algorithm that does not count: outside SHA-2, Ed25519 and ML-DSA, or RSASSA-PSS
 * with mixed parameters
 * @throws DerError when it is malformed
 */
export function readSignatureAlgorithm(
  identifier: DerElement | undefined,
  digest?: Digest,
): SignatureAlgorithm | undefined {
  const [name, parameters, more] = childrenOf(
    expectTag(identifier, derTag.sequence, 'the signature algorithm'),
  );
  const oid = readOid(name, 'the signature algorithm');
  if (more !== undefined) throw new DerError('the signature algorithm is malformed', more.offset);
  if (oid === rsaPss) return parameters === undefined ? undefined : readPss(parameters);
  const rsa = oid === rsaEncryption ? digest : pkcs1[oid];
  if (rsa !== undefined) {
    // RFC 4055 section 5: NULL; CMS sometimes omits it (RFC 5754 section 3.2).
    if (!(isNull(parameters) || (digest !== undefined && parameters === undefined)))
      throw new DerError('the signature algorithm has wrong parameters', identifier?.offset ?? 0);
    return { kind: 'pkcs1', hash: rsa };
  }
  const hash = ecdsa[oid];
  const kind = undigested[oid];
  if (hash === undefined && kind === undefined) return undefined;
  // RFC 5758 section 3.2, RFC 8410 section 3, RFC 9881 section 2: absent.
  if (parameters !== undefined)
    throw new DerError('the signature algorithm has parameters', parameters.offset);
  return kind === undefined ? { kind: 'ecdsa', hash: hash as Digest } : { kind };
}

/**
 * Reads the digest of an AlgorithmIdentifier without parameters, or with NULL (RFC 5754 section 2); undefined
 * for a digest that does not count. @throws DerError
 */
export function readDigest(identifier: DerElement | undefined, what: string): Digest | undefined {
  return digests[readPlainAlgorithm(identifier, what)];
}

/** Returns the name of an algorithm that has no parameters, or NULL as parameters. @throws DerError */
export function readPlainAlgorithm(identifier: DerElement | undefined, what: string): string {
  const [name, parameters, more] = childrenOf(expectTag(identifier, derTag.sequence, what));
  if (more !== undefined || (parameters !== undefined && !isNull(parameters)))
    throw new DerError(`${what} has parameters`, identifier?.offset ?? 0);
  return readOid(name, what);
}

function isNull(parameters: DerElement | undefined): boolean {
  return parameters?.tag === derTag.null && parameters.content.length === 0;
}

/**
 * Reads RSASSA-PSS parameters. They count when the digest is also the mask's and as long as the salt (RFC
 * 4055 section 3.1), as in Go's crypto/x509.
 */
function readPss(parameters: DerElement): SignatureAlgorithm | undefined {
  const parts = childrenOf(expectTag(parameters, derTag.sequence, 'the parameters'));
  const field = (number: number): DerElement | undefined => {
    const found = parts.filter(({ tag }) => tag === contextTag(number, 'constructed'));
    if (found.length > 1) throw new DerError('the parameters of RSASSA-PSS are malformed', parameters.offset);
    const [wrapper] = found;
    return wrapper === undefined ? undefined : onlyChild(wrapper);
  };
  const [hashField, maskField, saltField, trailer] = [field(0), field(1), field(2), field(3)];
  if (
    parts.some(
      ({ tag }, index) =>
        tag < 0xa0 || tag > 0xa3 || (index > 0 && tag <= (parts[index - 1] as DerElement).tag),
    )
  )
    throw new DerError('the parameters of RSASSA-PSS are malformed', parameters.offset);
  // An absent field means SHA-1 and its length.
  if (hashField === undefined || maskField === undefined || saltField === undefined) return undefined;
  // 1 is the default, which DER omits; Go and OpenSSL omit it, too.
  if (trailer !== undefined) return undefined;
  const hash = readDigest(hashField, 'the digest');
  const [maskName, maskHash] = childrenOf(expectTag(maskField, derTag.sequence, 'the mask'));
  const salt = readSmallInteger(saltField, 'the length of the salt');
  if (
    hash === undefined ||
    readOid(maskName, 'the mask') !== maskByHash ||
    readDigest(maskHash, "the mask's digest") !== hash
  )
    return undefined;
  return salt === digestBytes[hash] ? { kind: 'pss', hash } : undefined;
}

/** Certificates, timestamps and revocation answers are verified again for every decision. */
const remembered = createMemory<boolean>(2048);

/**
 * Returns whether the key made the signature. Returns false for an algorithm that does not count, and for a
 * key that does not match the algorithm. Never throws.
 */
export function isSignatureBy(
  algorithm: SignatureAlgorithm | undefined,
  key: KeyObject,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (algorithm === undefined) return false;
  return remembered([JSON.stringify(algorithm), nameOfKey(key), data, signature], () =>
    fits(algorithm, key, data, signature),
  );
}

function fits(
  algorithm: SignatureAlgorithm,
  key: KeyObject,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  switch (algorithm.kind) {
    case 'pkcs1':
      return (
        key.asymmetricKeyType === 'rsa' &&
        verifyWith(algorithm.hash, data, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
      );
    case 'pss': {
      const pss = {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      };
      return key.asymmetricKeyType === 'rsa' && verifyWith(algorithm.hash, data, pss, signature);
    }
    case 'ecdsa':
      return key.asymmetricKeyType === 'ec' && verifyWith(algorithm.hash, data, key, signature);
    case 'ed25519':
    case 'ml-dsa-44':
    case 'ml-dsa-65':
    case 'ml-dsa-87':
      return key.asymmetricKeyType === algorithm.kind && verifyWith(null, data, key, signature);
  }
}

/** Verifies with node:crypto; returns false for a key that does not fit the algorithm. */
export function verifyWith(
  digest: string | null,
  message: Uint8Array,
  key: KeyObject | VerifyKeyObjectInput,
  signature: Uint8Array,
): boolean {
  return attempt(() => verify(digest, message, key, signature)) ?? false;
}

import { constants, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { createMemory, nameOfKey } from '../remembered.ts';
import { childrenOf, contextTag, derTags, expectTag, oidOf, smallIntegerOf } from './der.ts';
import type { Der } from './der.ts';
import { hashes } from './names.ts';

type Hash = 'sha256' | 'sha384' | 'sha512';

const rsaPss = '1.2.840.113549.1.1.10';
const rsaEncryption = '1.2.840.113549.1.1.1';
const pkcs1: Readonly<Record<string, Hash>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
};
const ecdsa: Readonly<Record<string, Hash>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
};
const ed25519 = '1.3.101.112';

/** How a certificate, revocation list, OCSP response or CMS message says it is signed. */
export type SignatureAlgorithm =
  | { readonly kind: 'pkcs1' | 'ecdsa'; readonly hash: Hash }
  | { readonly kind: 'pss'; readonly hash: Hash; readonly saltLength: number }
  | { readonly kind: 'ed25519' };

/**
 * Reads an AlgorithmIdentifier. Everything outside SHA-2 and Ed25519 is refused: SHA-1 and older prove nothing.
 * @param digest the hash of CMS, where the algorithm may be plain rsaEncryption (RFC 5652 section 10.1.2)
 * @throws Error with a sentence
 */
export function readSignatureAlgorithm(identifier: Der, digest?: Hash): SignatureAlgorithm {
  const [name, parameters] = childrenOf(expectTag(identifier, derTags.sequence));
  const oid = oidOf(name);
  if (oid === rsaPss) return readPss(parameters);
  if (oid === ed25519) return { kind: 'ed25519' };
  if (oid === rsaEncryption && digest !== undefined) return { kind: 'pkcs1', hash: digest };
  const rsaHash = pkcs1[oid];
  if (rsaHash !== undefined) return { kind: 'pkcs1', hash: rsaHash };
  const ecHash = ecdsa[oid];
  if (ecHash !== undefined) return { kind: 'ecdsa', hash: ecHash };
  throw new Error(`it is signed with an algorithm that is not accepted (${oid})`);
}

/** Whether the signature is the key's; a key of another kind than the algorithm's gives false. Never throws. */
export function verifyWith(algorithm: SignatureAlgorithm, key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  return remembered([JSON.stringify(algorithm), nameOfKey(key), data, signature], () => fits(algorithm, key, data, signature));
}

/** Certificates, time stamps and answers about revocation are asked about again with every decision. */
const remembered = createMemory<boolean>(2048);

function fits(algorithm: SignatureAlgorithm, key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  try {
    switch (algorithm.kind) {
      case 'pkcs1':
        return key.asymmetricKeyType === 'rsa' && verify(algorithm.hash, data, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
      case 'pss':
        return (
          key.asymmetricKeyType === 'rsa' &&
          verify(algorithm.hash, data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: algorithm.saltLength }, signature)
        );
      case 'ecdsa':
        return key.asymmetricKeyType === 'ec' && verify(algorithm.hash, data, key, signature);
      case 'ed25519':
        return key.asymmetricKeyType === 'ed25519' && verify(null, data, key, signature);
    }
  } catch {
    return false;
  }
}

/** RSASSA-PSS-params (RFC 4055 section 3.1); what is left out means SHA-1, which is refused. */
function readPss(parameters: Der | undefined): SignatureAlgorithm {
  const parts = childrenOf(expectTag(parameters, derTags.sequence));
  const part = (number: number): Der | undefined => parts.find((one) => one.tag === contextTag(number, 'constructed'));
  const hashPart = part(0);
  const hash = hashPart === undefined ? undefined : hashes[oidOf(childrenOf(expectTag(childrenOf(hashPart)[0], derTags.sequence))[0])];
  if (hash === undefined) throw new Error('it is signed with RSASSA-PSS over a digest that is not accepted');
  const saltPart = part(2);
  return { kind: 'pss', hash, saltLength: saltPart === undefined ? 20 : smallIntegerOf(childrenOf(saltPart)[0]) };
}

import { createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { writePem } from '../../base/pem/index.ts';
import { rawOfEd25519 } from '../keys/ed25519.ts';
import { tufCanonicalJson } from './canonical.ts';
import { notaryKeyId } from './keys.ts';
import type { Dialect } from './model.ts';
import type { Json } from './reading.ts';

/** A public key exactly as the metadata of one dialect lists it. */
export interface ListedKey {
  /** The key id in this dialect. */
  readonly id: string;
  readonly entry: Json;
  /**
   * Hex sha256 of the SPKI, which identifies the same key in both dialects. Empty when the key type is not
   * supported.
   */
  readonly material: string;
}

/** Specification 1.0.34, section 4.2.1. */
const ecdsaSchemes: Readonly<Record<string, string>> = {
  prime256v1: 'ecdsa-sha2-nistp256',
  secp384r1: 'ecdsa-sha2-nistp384',
  secp521r1: 'ecdsa-sha2-nistp521',
};

export function materialOf(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex');
}

/**
 * Returns a key as the metadata of a dialect lists it.
 * @param certificate PEM. Notary's clients require one for the keys of the root and for no other role. The
 * TUF dialect has none.
 * @throws Error for a type or curve that the dialect does not define
 */
export function listedKey(dialect: Dialect, key: KeyObject, certificate?: string): ListedKey {
  const spki = key.export({ format: 'der', type: 'spki' });
  const material = materialOf(spki);
  const type =
    key.asymmetricKeyType === 'ec' ? 'ecdsa' : key.asymmetricKeyType === 'ed25519' ? 'ed25519' : 'rsa';
  if (dialect === 'tuf') {
    const entry = tufEntry(type, key, spki);
    return { id: createHash('sha256').update(tufCanonicalJson(entry)).digest('hex'), entry, material };
  }
  const named = certificate !== undefined && type !== 'ed25519';
  const keytype = named ? `${type}-x509` : type;
  const content = named ? Buffer.from(certificate) : type === 'ed25519' ? rawOfEd25519(key) : spki;
  const text = content.toString('base64');
  return {
    id: notaryKeyId(keytype, text),
    entry: { keytype, keyval: { private: null, public: text } },
    material,
  };
}

function tufEntry(type: 'ecdsa' | 'ed25519' | 'rsa', key: KeyObject, spki: Buffer): Json {
  if (type === 'ed25519')
    return { keytype: type, scheme: type, keyval: { public: rawOfEd25519(key).toString('hex') } };
  const keyval = { public: writePem('PUBLIC KEY', spki) };
  if (type === 'rsa') return { keytype: type, scheme: 'rsassa-pss-sha256', keyval };
  const curve = key.asymmetricKeyDetails?.namedCurve ?? '';
  const scheme = ecdsaSchemes[curve];
  if (scheme === undefined) throw new Error(`keys on the curve ${curve} have no scheme in TUF`);
  return { keytype: type, scheme, keyval };
}

/**
 * Returns the id under which Notary keeps a private key: the id of the bare key, whatever certificate the
 * metadata lists.
 */
export function bareKeyId(key: KeyObject): string {
  return listedKey('notary', key).id;
}
